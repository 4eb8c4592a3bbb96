// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build ignore

// A PKCS#11 module that stands before a real one, counts what it is asked and
// fails as it is told. It is steered by the file "<its own path>.ctl"
// (faultp11.h). README.md says how to build and use it.

#define _GNU_SOURCE
#include "faultp11.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "pkcs11go.h"

static struct control *ctl;
static CK_FUNCTION_LIST *real; // NULL if it could not be loaded
static CK_FUNCTION_LIST ours;

static uint64_t get(word *w) { return atomic_load_explicit(w, memory_order_acquire); }

static uint64_t add(word *w, int64_t n) { return atomic_fetch_add(w, (uint64_t)n) + (uint64_t)n; }

static void raise_to(word *w, uint64_t n)
{
	uint64_t old = get(w);
	while (old < n && !atomic_compare_exchange_weak(w, &old, n))
		;
}

// take_one lowers a counter that is not zero and reports whether it was one.
static int took_last(word *w)
{
	uint64_t old = get(w);
	while (old > 0 && !atomic_compare_exchange_weak(w, &old, old - 1))
		;
	return old == 1;
}

static void nap(uint64_t ns)
{
	struct timespec t = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
	while (ns > 0 && nanosleep(&t, &t) != 0)
		; // a signal; the Go runtime sends many
}

#include "state.h"

// die kills the process, unless it is the one that steers the module.
static void die(enum function f)
{
	if (getpid() == (pid_t)get(&ctl->owner))
		return;
	drop(NULL, NULL);
	add(&ctl->function[f].inside, -1);
	kill(getpid(), SIGKILL);
	pause();
}

// --- The token's capacity: calls beyond it wait, which is no fault.

static pthread_mutex_t turns = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turn_free = PTHREAD_COND_INITIALIZER;
static uint64_t working;

static int take_turn(void)
{
	if (!get(&ctl->parallel))
		return 0;
	pthread_mutex_lock(&turns);
	for (uint64_t n; (n = get(&ctl->parallel)) > 0 && working >= n;) {
		struct timespec until;
		clock_gettime(CLOCK_REALTIME, &until);
		if ((until.tv_nsec += 20000000) >= 1000000000)
			until.tv_sec++, until.tv_nsec -= 1000000000;
		pthread_cond_timedwait(&turn_free, &turns, &until); // the limit may be changed meanwhile
	}
	working++;
	pthread_mutex_unlock(&turns);
	return 1;
}

static void give_turn(void)
{
	pthread_mutex_lock(&turns);
	working--;
	pthread_cond_signal(&turn_free);
	pthread_mutex_unlock(&turns);
}

// --- One call.

enum scope {
	LIFE,    // starts or stops the module
	LIBRARY, // answered without a token
	SLOT,    // needs a token in the slot
	SESSION, // needs a session
};

struct call {
	enum function f;
	enum scope scope;
	CK_SESSION_HANDLE session;
	enum mode mode; // of the rule that was met
	CK_RV code;     // likewise
	int turn;
	int last; // the caller is killed when the real module has answered
	CK_RV rv;
};

// take_rule uses the function's rule up by one call.
static void take_rule(struct call *c)
{
	struct counted *f = &ctl->function[c->f];
	uint64_t now = get(&f->rule), next;
	do {
		if (RULE_LEFT(now) == 0)
			return;
		next = now;
		if (RULE_SKIP(now) > 0)
			next -= RULE_ONE_SKIP;
		else if (RULE_LEFT(now) != RULE_FOR_EVER)
			next -= RULE_ONE_LEFT;
	} while (!atomic_compare_exchange_weak(&f->rule, &now, next));
	if (RULE_SKIP(now) > 0)
		return;
	c->mode = RULE_MODE(now);
	c->code = (CK_RV)RULE_CODE(now);
	add(&f->hits, 1);
}

static void hang(uint64_t release)
{
	add(&ctl->hanging, 1);
	while (get(&ctl->release) == release)
		nap(500000);
	add(&ctl->hanging, -1);
}

// meet does what comes before the call, if its rule says so.
static void meet(const struct call *c, uint64_t release)
{
	switch (c->mode) {
	case DELAY:
		nap(c->code * UINT64_C(1000));
		break;
	case HANG:
		hang(release);
		break;
	case KILL:
		die(c->f);
		break;
	case LOSE_SESSIONS:
		add(&ctl->lose, 1);
		break;
	default:
		break;
	}
}

// stricken is what the state of the module and the token make of a call.
static CK_RV stricken(const struct call *c)
{
	if (c->scope == LIFE)
		return CKR_OK;
	if (get(&broken))
		return (CK_RV)get(&broken);
	if (!get(&ctl->removed))
		return CKR_OK;
	switch (c->scope) {
	case SLOT:
		return CKR_TOKEN_NOT_PRESENT;
	case SESSION:
		return CKR_DEVICE_REMOVED;
	default:
		return CKR_OK;
	}
}

static int creates(enum function f)
{
	return f == F_C_CreateObject || f == F_C_CopyObject || f == F_C_GenerateKeyPair;
}

static void lock_inner(const struct call *c)
{
	if (c->scope == LIFE)
		pthread_rwlock_wrlock(&inner);
	else
		pthread_rwlock_rdlock(&inner);
}

// begin is the way in. It returns true if the real module is to be called,
// with inner locked until done; else c->rv is the answer.
static int begin(struct call *c, enum function f, enum scope scope, CK_SESSION_HANDLE session)
{
	*c = (struct call){.f = f, .scope = scope, .session = session, .rv = CKR_GENERAL_ERROR};
	if (!real)
		return 0;
	struct counted *counted = &ctl->function[f];
	uint64_t release = get(&ctl->release);
	add(&counted->calls, 1);
	add(&ctl->total, 1);
	raise_to(&counted->inside_max, add(&counted->inside, 1));
	if (add(&inside, 1) > 1 && f == F_C_Finalize)
		add(&ctl->finalized_inside, 1);
	if (scope == SESSION)
		occupy(session);
	if (get(&ctl->kill) && getpid() != (pid_t)get(&ctl->owner) && took_last(&ctl->kill)) {
		if (!get(&ctl->late))
			die(f);
		c->last = 1;
	}
	c->turn = take_turn();
	nap(get(&ctl->delay) + get(&counted->delay));
	take_rule(c);
	meet(c, release);
	catch_up();
	if ((c->rv = stricken(c)) != CKR_OK) {
		c->mode = NONE;
		return 0;
	}
	if (c->mode == FAIL || c->mode == FAIL_ACTIVE) {
		c->rv = c->code;
		return 0;
	}
	if (c->mode == FORGET && !creates(f))
		return 0;
	lock_inner(c);
	if (scope == LIFE || running)
		return 1;
	pthread_rwlock_unlock(&inner); // SoftHSM makes a new instance for such a call, and crashes if two do
	c->rv = CKR_CRYPTOKI_NOT_INITIALIZED;
	return 0;
}

// done takes the real module's answer.
static void done(struct call *c, CK_RV rv)
{
	pthread_rwlock_unlock(&inner);
	c->rv = c->mode == LOSE_ANSWER ? c->code : rv;
	if (c->mode == KILL_AFTER || c->last)
		die(c->f);
}

// end is the way out.
static CK_RV end(struct call *c)
{
	if (!real)
		return c->rv;
	if (c->scope == SESSION)
		vacate(c->session);
	if (c->turn)
		give_turn();
	add(&inside, -1);
	add(&ctl->function[c->f].inside, -1);
	return c->rv;
}

#include "functions.h"
#include "private.h"

// --- Loading.

static int attach(const char *path)
{
	char name[4096 + 8];
	struct stat st;
	snprintf(name, sizeof name, "%s.ctl", path);
	int fd = open(name, O_RDWR | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) != 0 || st.st_size < (off_t)sizeof *ctl) {
		fprintf(stderr, "faultp11: %s is missing or too short\n", name);
		return 0;
	}
	struct control *c = mmap(NULL, sizeof *c, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (c == MAP_FAILED || c->magic != FAULTP11_MAGIC || c->version != FAULTP11_VERSION || c->size != sizeof *c) {
		fprintf(stderr, "faultp11: %s is no control file of this module\n", name);
		return 0;
	}
	static const char *const names[FUNCTIONS] = {
#define X(name) #name,
		FAULTP11_FUNCTIONS(X)
#undef X
		"C_Sign(NULL)", "C_SignFinal(NULL)"};
	for (int i = 0; i < FUNCTIONS; i++)
		if (strncmp(c->function[i].name, names[i], sizeof c->function[i].name) != 0) {
			fprintf(stderr, "faultp11: %s counts \"%.32s\" where this module has %s\n", name, c->function[i].name, names[i]);
			return 0;
		}
	ctl = c;
	return 1;
}

static CK_FUNCTION_LIST *load(const char *path)
{
	CK_FUNCTION_LIST *loaded = NULL;
	CK_RV (*list)(CK_FUNCTION_LIST **);
	void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!lib || !(list = (CK_RV(*)(CK_FUNCTION_LIST **))dlsym(lib, "C_GetFunctionList")))
		fprintf(stderr, "faultp11: %s\n", dlerror());
	else if (!make_private(lib))
		fprintf(stderr, "faultp11: %s cannot be given a variable %s of its own\n", path, ctl->variable);
	else if (list(&loaded) != CKR_OK || !loaded)
		fprintf(stderr, "faultp11: %s: C_GetFunctionList failed\n", path);
	return loaded;
}

static void start(void)
{
	Dl_info self = {0};
	pthread_rwlockattr_t kind;
	CK_FUNCTION_LIST *loaded = NULL;
	if (dladdr((void *)&ours, &self) && self.dli_fname && attach(self.dli_fname) && (loaded = load(ctl->module))) {
		dlopen(self.dli_fname, RTLD_NOW | RTLD_NODELETE); // calls may hang in here when the module is unloaded
		pthread_rwlockattr_init(&kind);
#ifdef __GLIBC__
		pthread_rwlockattr_setkind_np(&kind, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
#endif
		pthread_rwlock_init(&inner, &kind);
		seen_lose = get(&ctl->lose);
		seen_uninitialise = get(&ctl->uninitialise);
		seen_disconnect = get(&ctl->disconnect);
		ours = *loaded;
	}
	real = loaded;
	ours.version.major = 2; // a module of version 3 has a longer list
	ours.version.minor = 40;
	ours.C_GetFunctionList = C_GetFunctionList;
#define X(name) ours.name = our_##name;
	FAULTP11_FUNCTIONS(X)
#undef X
}

// C_GetFunctionList hands out a list even if the module could not be loaded,
// because some applications do not look at the answer: all of it fails then.
CK_RV C_GetFunctionList(CK_FUNCTION_LIST **list)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, start);
	if (!list)
		return CKR_ARGUMENTS_BAD;
	*list = &ours;
	return real ? CKR_OK : CKR_GENERAL_ERROR;
}
