// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

// The functions of the fault module, included by faultp11.c. Most hand the
// call on; those below PASS have more to do.

#define PASS(name, scope, session, params, args) \
	static CK_RV our_##name params \
	{ \
		struct call c; \
		if (begin(&c, F_##name, scope, session)) \
			done(&c, real->name args); \
		return end(&c); \
	}

PASS(C_GetInfo, LIBRARY, 0, (CK_INFO * info), (info))
PASS(C_InitToken, SLOT, 0, (CK_SLOT_ID slot, CK_BYTE *pin, CK_ULONG n, CK_BYTE *label), (slot, pin, n, label))
PASS(C_SetPIN, SESSION, s, (CK_SESSION_HANDLE s, CK_BYTE *before, CK_ULONG n, CK_BYTE *after, CK_ULONG m), (s, before, n, after, m))
PASS(C_GetSessionInfo, SESSION, s, (CK_SESSION_HANDLE s, CK_SESSION_INFO *info), (s, info))
PASS(C_Logout, SESSION, s, (CK_SESSION_HANDLE s), (s))
PASS(C_DestroyObject, SESSION, s, (CK_SESSION_HANDLE s, CK_OBJECT_HANDLE o), (s, o))
PASS(C_FindObjectsInit, SESSION, s, (CK_SESSION_HANDLE s, CK_ATTRIBUTE *t, CK_ULONG n), (s, t, n))
PASS(C_FindObjects, SESSION, s, (CK_SESSION_HANDLE s, CK_OBJECT_HANDLE *o, CK_ULONG max, CK_ULONG *n), (s, o, max, n))
PASS(C_FindObjectsFinal, SESSION, s, (CK_SESSION_HANDLE s), (s))
PASS(C_GenerateRandom, SESSION, s, (CK_SESSION_HANDLE s, CK_BYTE *b, CK_ULONG n), (s, b, n))

// --- Life.

static CK_RV our_C_Initialize(void *args)
{
	struct call c;
	if (begin(&c, F_C_Initialize, LIFE, 0)) {
		CK_RV rv = real->C_Initialize(args);
		if (rv == CKR_OK) {
			running = 1;
			broken = CKR_OK;
		}
		done(&c, rv);
	}
	return end(&c);
}

static CK_RV our_C_Finalize(void *reserved)
{
	struct call c;
	if (begin(&c, F_C_Finalize, LIFE, 0)) {
		CK_RV rv = real->C_Finalize(reserved);
		drop(NULL, NULL);
		running = 0;
		broken = CKR_OK;
		done(&c, rv);
	}
	return end(&c);
}

// --- Slots and tokens.

static CK_RV our_C_GetSlotList(CK_BBOOL present, CK_SLOT_ID *list, CK_ULONG *n)
{
	struct call c;
	if (begin(&c, F_C_GetSlotList, LIBRARY, 0)) {
		CK_RV rv = real->C_GetSlotList(present, list, n);
		if (present && get(&ctl->removed) && (rv == CKR_OK || rv == CKR_BUFFER_TOO_SMALL)) {
			rv = CKR_OK;
			*n = 0;
		}
		done(&c, rv);
	}
	return end(&c);
}

static CK_RV our_C_GetSlotInfo(CK_SLOT_ID slot, CK_SLOT_INFO *info)
{
	struct call c;
	if (begin(&c, F_C_GetSlotInfo, LIBRARY, 0)) {
		CK_RV rv = real->C_GetSlotInfo(slot, info);
		if (rv == CKR_OK && get(&ctl->removed))
			info->flags &= ~(CK_FLAGS)CKF_TOKEN_PRESENT;
		done(&c, rv);
	}
	return end(&c);
}

static CK_FLAGS pin_state(void)
{
	uint64_t tries = get(&ctl->pin_tries), left = get(&ctl->pin_left);
	if (tries == 0 || left == tries)
		return 0;
	return CKF_USER_PIN_COUNT_LOW | (left == 1 ? CKF_USER_PIN_FINAL_TRY : 0) | (left == 0 ? CKF_USER_PIN_LOCKED : 0);
}

static CK_RV our_C_GetTokenInfo(CK_SLOT_ID slot, CK_TOKEN_INFO *info)
{
	struct call c;
	if (begin(&c, F_C_GetTokenInfo, SLOT, 0)) {
		CK_RV rv = real->C_GetTokenInfo(slot, info);
		if (rv == CKR_OK) {
			uint64_t all = get(&ctl->max_sessions), rw = get(&ctl->max_rw_sessions);
			info->flags |= (CK_FLAGS)get(&ctl->pin_flags) | pin_state();
			if (all)
				info->ulMaxSessionCount = info->ulMaxRwSessionCount = (CK_ULONG)all;
			if (rw)
				info->ulMaxRwSessionCount = (CK_ULONG)rw;
		}
		done(&c, rv);
	}
	return end(&c);
}

static int hidden(CK_MECHANISM_TYPE m)
{
	for (uint64_t i = 0, n = get(&ctl->hidden); i < n && i < MAX_HIDDEN; i++)
		if (get(&ctl->hidden_mechanism[i]) == m)
			return 1;
	return 0;
}

static CK_RV mechanisms(CK_SLOT_ID slot, CK_MECHANISM_TYPE *list, CK_ULONG *n)
{
	CK_MECHANISM_TYPE all[1024];
	CK_ULONG have = sizeof all / sizeof *all, keep = 0;
	if (!get(&ctl->hidden) || !n)
		return real->C_GetMechanismList(slot, list, n);
	CK_RV rv = real->C_GetMechanismList(slot, all, &have);
	if (rv != CKR_OK)
		return rv;
	for (CK_ULONG i = 0; i < have; i++)
		if (!hidden(all[i]))
			all[keep++] = all[i];
	if (list && *n < keep)
		rv = CKR_BUFFER_TOO_SMALL;
	else if (list)
		memcpy(list, all, keep * sizeof *all);
	*n = keep;
	return rv;
}

static CK_RV our_C_GetMechanismList(CK_SLOT_ID slot, CK_MECHANISM_TYPE *list, CK_ULONG *n)
{
	struct call c;
	if (begin(&c, F_C_GetMechanismList, SLOT, 0))
		done(&c, mechanisms(slot, list, n));
	return end(&c);
}

static CK_RV our_C_GetMechanismInfo(CK_SLOT_ID slot, CK_MECHANISM_TYPE m, CK_MECHANISM_INFO *info)
{
	struct call c;
	if (begin(&c, F_C_GetMechanismInfo, SLOT, 0))
		done(&c, hidden(m) ? CKR_MECHANISM_INVALID : real->C_GetMechanismInfo(slot, m, info));
	return end(&c);
}

// --- Sessions and login.

static CK_RV our_C_OpenSession(CK_SLOT_ID slot, CK_FLAGS flags, void *app, CK_NOTIFY notify, CK_SESSION_HANDLE *h)
{
	struct call c;
	if (begin(&c, F_C_OpenSession, SLOT, 0)) {
		struct session *s = reserve(slot, (flags & CKF_RW_SESSION) != 0);
		CK_RV rv = CKR_SESSION_COUNT;
		if (s) {
			rv = real->C_OpenSession(slot, flags, app, notify, h);
			settle(s, rv, h);
		}
		done(&c, rv);
	}
	return end(&c);
}

static CK_RV our_C_CloseSession(CK_SESSION_HANDLE h)
{
	struct call c;
	if (begin(&c, F_C_CloseSession, SESSION, h)) {
		CK_RV rv = real->C_CloseSession(h);
		if (rv == CKR_OK)
			drop(&h, NULL);
		done(&c, rv);
	}
	return end(&c);
}

static CK_RV our_C_CloseAllSessions(CK_SLOT_ID slot)
{
	struct call c;
	if (begin(&c, F_C_CloseAllSessions, SLOT, 0)) {
		CK_RV rv = real->C_CloseAllSessions(slot);
		if (rv == CKR_OK)
			drop(NULL, &slot);
		done(&c, rv);
	}
	return end(&c);
}

static CK_RV our_C_Login(CK_SESSION_HANDLE s, CK_USER_TYPE user, CK_BYTE *pin, CK_ULONG n)
{
	struct call c;
	if (begin(&c, F_C_Login, SESSION, s)) {
		int counts = user == CKU_USER && get(&ctl->pin_tries) > 0;
		CK_RV rv = CKR_PIN_LOCKED;
		if (!counts || get(&ctl->pin_left) > 0)
			rv = real->C_Login(s, user, pin, n);
		if (counts && rv == CKR_OK)
			ctl->pin_left = get(&ctl->pin_tries);
		if (counts && rv == CKR_PIN_INCORRECT)
			took_last(&ctl->pin_left);
		done(&c, rv);
	}
	return end(&c);
}

static CK_RV our_C_InitPIN(CK_SESSION_HANDLE s, CK_BYTE *pin, CK_ULONG n)
{
	struct call c;
	if (begin(&c, F_C_InitPIN, SESSION, s)) {
		CK_RV rv = real->C_InitPIN(s, pin, n);
		if (rv == CKR_OK)
			ctl->pin_left = get(&ctl->pin_tries);
		done(&c, rv);
	}
	return end(&c);
}

// --- Objects.

// refused is the code for a template with an attribute that the token does not
// take in objects of a class, or in any.
static CK_RV refused(uint64_t class, const CK_ATTRIBUTE *t, CK_ULONG n)
{
	for (uint64_t i = 0, m = get(&ctl->refused); i < m && i < MAX_REFUSED; i++) {
		struct refusal *r = &ctl->refusal[i];
		if (get(&r->class) != ANY_CLASS && get(&r->class) != class)
			continue;
		for (CK_ULONG k = 0; k < n; k++) {
			int is_false = t[k].pValue && t[k].ulValueLen == 1 && *(CK_BYTE *)t[k].pValue == 0;
			if (t[k].type == get(&r->attribute) && !(is_false && get(&r->only_true)))
				return (CK_RV)get(&r->code);
		}
	}
	return CKR_OK;
}

static uint64_t class_of(const CK_ATTRIBUTE *t, CK_ULONG n)
{
	for (CK_ULONG i = 0; i < n; i++)
		if (t[i].type == CKA_CLASS && t[i].pValue && t[i].ulValueLen == sizeof(CK_OBJECT_CLASS))
			return *(CK_OBJECT_CLASS *)t[i].pValue;
	return ANY_CLASS;
}

// forget takes back what was made if the call is to be acknowledged only.
static void forget(const struct call *c, CK_RV rv, CK_OBJECT_HANDLE o)
{
	if (c->mode == FORGET && rv == CKR_OK)
		real->C_DestroyObject(c->session, o);
}

static CK_RV our_C_CreateObject(CK_SESSION_HANDLE s, CK_ATTRIBUTE *t, CK_ULONG n, CK_OBJECT_HANDLE *o)
{
	struct call c;
	if (begin(&c, F_C_CreateObject, SESSION, s)) {
		CK_RV rv = refused(class_of(t, n), t, n);
		if (rv == CKR_OK && (rv = real->C_CreateObject(s, t, n, o)) == CKR_OK)
			forget(&c, rv, *o);
		done(&c, rv);
	}
	return end(&c);
}

static CK_RV our_C_CopyObject(CK_SESSION_HANDLE s, CK_OBJECT_HANDLE from, CK_ATTRIBUTE *t, CK_ULONG n, CK_OBJECT_HANDLE *o)
{
	struct call c;
	if (begin(&c, F_C_CopyObject, SESSION, s)) {
		CK_RV rv = refused(class_of(t, n), t, n);
		if (rv == CKR_OK && (rv = real->C_CopyObject(s, from, t, n, o)) == CKR_OK)
			forget(&c, rv, *o);
		done(&c, rv);
	}
	return end(&c);
}

static CK_RV our_C_SetAttributeValue(CK_SESSION_HANDLE s, CK_OBJECT_HANDLE o, CK_ATTRIBUTE *t, CK_ULONG n)
{
	struct call c;
	if (begin(&c, F_C_SetAttributeValue, SESSION, s)) {
		CK_RV rv = refused(ANY_CLASS, t, n);
		done(&c, rv == CKR_OK ? real->C_SetAttributeValue(s, o, t, n) : rv);
	}
	return end(&c);
}

// An attribute refused in every class as unknown cannot be read either.
static CK_RV our_C_GetAttributeValue(CK_SESSION_HANDLE s, CK_OBJECT_HANDLE o, CK_ATTRIBUTE *t, CK_ULONG n)
{
	struct call c;
	if (begin(&c, F_C_GetAttributeValue, SESSION, s)) {
		CK_RV rv = real->C_GetAttributeValue(s, o, t, n);
		for (CK_ULONG i = 0; i < n && rv != CKR_SESSION_HANDLE_INVALID; i++)
			if (refused(ANY_CLASS, &t[i], 1) == CKR_ATTRIBUTE_TYPE_INVALID) {
				t[i].ulValueLen = (CK_ULONG)-1;
				if (rv == CKR_OK || rv == CKR_BUFFER_TOO_SMALL) // as SoftHSM has it
					rv = CKR_ATTRIBUTE_TYPE_INVALID;
			}
		done(&c, rv);
	}
	return end(&c);
}

static CK_RV our_C_GenerateKeyPair(CK_SESSION_HANDLE s, CK_MECHANISM *m, CK_ATTRIBUTE *t, CK_ULONG n, CK_ATTRIBUTE *u, CK_ULONG k,
	CK_OBJECT_HANDLE *public, CK_OBJECT_HANDLE *private)
{
	struct call c;
	if (begin(&c, F_C_GenerateKeyPair, SESSION, s)) {
		CK_RV rv = hidden(m->mechanism) ? CKR_MECHANISM_INVALID : refused(CKO_PUBLIC_KEY, t, n);
		if (rv == CKR_OK)
			rv = refused(CKO_PRIVATE_KEY, u, k);
		if (rv == CKR_OK && (rv = real->C_GenerateKeyPair(s, m, t, n, u, k, public, private)) == CKR_OK) {
			forget(&c, rv, *public);
			forget(&c, rv, *private);
		}
		done(&c, rv);
	}
	return end(&c);
}

// --- Signatures.

static CK_RV our_C_SignInit(CK_SESSION_HANDLE s, CK_MECHANISM *m, CK_OBJECT_HANDLE key)
{
	struct call c;
	if (begin(&c, F_C_SignInit, SESSION, s))
		done(&c, hidden(m->mechanism) ? CKR_MECHANISM_INVALID : real->C_SignInit(s, m, key));
	return end(&c);
}

// PKCS#11 v2.40 section 5.11: every failure of these ends the operation, except
// CKR_BUFFER_TOO_SMALL, which tells the length instead. So FAIL has to end it
// in the real module too.
#define MUST_END(c) ((c)->mode == FAIL)

static CK_RV spoil(struct call *c, CK_BYTE *sig, const CK_ULONG *n)
{
	if (c->mode == FLIP && c->rv == CKR_OK && sig && *n > 0)
		sig[*n / 2] ^= 1;
	return end(c);
}

static CK_RV our_C_Sign(CK_SESSION_HANDLE s, CK_BYTE *data, CK_ULONG len, CK_BYTE *sig, CK_ULONG *n)
{
	struct call c;
	CK_BYTE scratch[8192];
	CK_ULONG room = sizeof scratch;
	if (begin(&c, sig ? F_C_Sign : F_C_Sign_NULL, SESSION, s)) {
		done(&c, real->C_Sign(s, data, len, sig, n));
	} else if (MUST_END(&c)) {
		int small = c.code == CKR_BUFFER_TOO_SMALL;
		pthread_rwlock_rdlock(&inner);
		real->C_Sign(s, data, len, small ? NULL : scratch, small ? n : &room);
		pthread_rwlock_unlock(&inner);
	}
	return spoil(&c, sig, n);
}

static CK_RV our_C_SignUpdate(CK_SESSION_HANDLE s, CK_BYTE *data, CK_ULONG len)
{
	struct call c;
	CK_BYTE scratch[8192];
	CK_ULONG room = sizeof scratch;
	if (begin(&c, F_C_SignUpdate, SESSION, s)) {
		done(&c, real->C_SignUpdate(s, data, len));
	} else if (MUST_END(&c)) {
		pthread_rwlock_rdlock(&inner);
		real->C_SignFinal(s, scratch, &room);
		pthread_rwlock_unlock(&inner);
	}
	return end(&c);
}

static CK_RV our_C_SignFinal(CK_SESSION_HANDLE s, CK_BYTE *sig, CK_ULONG *n)
{
	struct call c;
	CK_BYTE scratch[8192];
	CK_ULONG room = sizeof scratch;
	if (begin(&c, sig ? F_C_SignFinal : F_C_SignFinal_NULL, SESSION, s)) {
		done(&c, real->C_SignFinal(s, sig, n));
	} else if (MUST_END(&c)) {
		int small = c.code == CKR_BUFFER_TOO_SMALL;
		pthread_rwlock_rdlock(&inner);
		real->C_SignFinal(s, small ? NULL : scratch, small ? n : &room);
		pthread_rwlock_unlock(&inner);
	}
	return spoil(&c, sig, n);
}
