// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

// What the fault module knows in this process: whether the real module runs,
// and its sessions. Included by faultp11.c.

// inner is held for reading while a call is inside the real module, and for
// writing while sessions are taken away or the module is finalised: real
// modules do not survive that under a running call.
static pthread_rwlock_t inner;

static word inside;  // calls of this process
static word running; // C_Initialize has succeeded
static word broken;  // the code of a lost connection, or CKR_OK
static word seen_lose, seen_uninitialise, seen_disconnect;

#define MAX_SESSIONS 4096
enum state { FREE, OPENING, OPEN };
static struct session {
	enum state state;
	int rw;
	int users; // calls in it now
	CK_SLOT_ID slot;
	CK_SESSION_HANDLE handle;
} sessions[MAX_SESSIONS];
static int used; // entries that were ever taken
static pthread_mutex_t book = PTHREAD_MUTEX_INITIALIZER;

static struct session *find(CK_SESSION_HANDLE h) // book is held
{
	for (int i = 0; i < used; i++)
		if (sessions[i].state == OPEN && sessions[i].handle == h)
			return &sessions[i];
	return NULL;
}

// reserve takes a place for a session of a slot; a NULL place means that the
// token has as many as it may have.
static struct session *reserve(CK_SLOT_ID slot, int rw)
{
	struct session *place = NULL;
	uint64_t all = 0, writing = 0, max = get(&ctl->max_sessions), max_rw = get(&ctl->max_rw_sessions);
	pthread_mutex_lock(&book);
	for (int i = 0; i < used; i++) {
		struct session *s = &sessions[i];
		if (s->state == FREE)
			place = s;
		else if (s->slot == slot)
			all++;
		if (s->state != FREE && s->slot == slot && s->rw)
			writing++;
	}
	if (!place && used < MAX_SESSIONS)
		place = &sessions[used++];
	if ((max && all >= max) || (rw && max_rw && writing >= max_rw))
		place = NULL;
	if (place)
		*place = (struct session){.state = OPENING, .rw = rw, .slot = slot};
	pthread_mutex_unlock(&book);
	return place;
}

static void settle(struct session *s, CK_RV rv, CK_SESSION_HANDLE *h)
{
	pthread_mutex_lock(&book);
	s->state = rv == CKR_OK ? OPEN : FREE;
	if (rv == CKR_OK) {
		s->handle = *h;
		raise_to(&ctl->sessions_max, add(&ctl->sessions, 1));
	}
	pthread_mutex_unlock(&book);
}

// drop forgets the sessions with a handle, on a slot, or all.
static void drop(const CK_SESSION_HANDLE *h, const CK_SLOT_ID *slot)
{
	pthread_mutex_lock(&book);
	for (int i = 0; i < used; i++) {
		struct session *s = &sessions[i];
		if (s->state == OPEN && (!h || s->handle == *h) && (!slot || s->slot == *slot)) {
			s->state = FREE;
			add(&ctl->sessions, -1);
		}
	}
	pthread_mutex_unlock(&book);
}

// occupy notes a call in a session, which may have only one at a time.
static void occupy(CK_SESSION_HANDLE h)
{
	pthread_mutex_lock(&book);
	struct session *s = find(h);
	if (s && s->users++ > 0)
		add(&ctl->shared_session, 1);
	pthread_mutex_unlock(&book);
}

static void vacate(CK_SESSION_HANDLE h)
{
	pthread_mutex_lock(&book);
	struct session *s = find(h);
	if (s && s->users > 0)
		s->users--;
	pthread_mutex_unlock(&book);
}

static void close_all(void) // inner is held for writing
{
	for (int i = 0; i < used; i++)
		if (sessions[i].state == OPEN) {
			CK_SLOT_ID slot = sessions[i].slot;
			real->C_CloseAllSessions(slot);
			drop(NULL, &slot);
		}
}

// catch_up lets happen what was ordered for this process since its last call.
static void catch_up(void)
{
	uint64_t lose = get(&ctl->lose), uninitialise = get(&ctl->uninitialise), disconnect = get(&ctl->disconnect);
	if (get(&seen_lose) == lose && get(&seen_uninitialise) == uninitialise && get(&seen_disconnect) == disconnect)
		return;
	pthread_rwlock_wrlock(&inner);
	if (atomic_exchange(&seen_lose, lose) < lose)
		close_all();
	if (atomic_exchange(&seen_uninitialise, uninitialise) < uninitialise && get(&running)) {
		real->C_Finalize(NULL);
		drop(NULL, NULL);
		running = 0;
	}
	if (atomic_exchange(&seen_disconnect, disconnect) < disconnect && get(&running))
		broken = get(&ctl->disconnect_code);
	pthread_rwlock_unlock(&inner);
}
