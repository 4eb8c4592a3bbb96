// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build ignore

// GnuTLS with the key named by a pkcs11: URL.

#include "contend.h"

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <gnutls/pkcs11.h>

enum { SERVERS = 8 };

static gnutls_certificate_credentials_t own;
static gnutls_priority_t priority;
static gnutls_datum_t ticket_key;
static gnutls_privkey_t key;
static gnutls_sign_algorithm_t algorithm;
static int listener;

static void check(const char *what, int rv)
{
	if (rv < 0)
		die(what, (unsigned long)-rv);
}

static const char *url(const char *label)
{
	static char text[512];
	snprintf(text, sizeof text, "pkcs11:token=%s;object=%s;type=private?pin-value=%s", env("BENCH_TOKEN"), label, env("BENCH_PIN"));
	return text;
}

static void open_module(void)
{
	check("gnutls_pkcs11_init", gnutls_pkcs11_init(GNUTLS_PKCS11_FLAG_MANUAL, NULL));
	check("gnutls_pkcs11_add_provider", gnutls_pkcs11_add_provider(env("BENCH_MODULE"), NULL));
}

static void open_key(const char *label, gnutls_sign_algorithm_t a)
{
	open_module();
	check("gnutls_privkey_init", gnutls_privkey_init(&key));
	check("gnutls_privkey_import_url", gnutls_privkey_import_url(key, url(label), 0));
	algorithm = a;
}

static void open_pkcs1(void) { open_key("unit_key", GNUTLS_SIGN_RSA_SHA256); }
static void open_pss(void) { open_key("unit_key", GNUTLS_SIGN_RSA_PSS_RSAE_SHA256); }
static void open_p256(void) { open_key("p256_key", GNUTLS_SIGN_ECDSA_SECP256R1_SHA256); }

static int sign(void *worker)
{
	unsigned char digest[32] = {0};
	gnutls_datum_t hash = {digest, sizeof digest}, signature = {0};
	(void)worker;
	int rv = gnutls_privkey_sign_hash2(key, algorithm, 0, &hash, &signature);
	gnutls_free(signature.data);
	return rv >= 0 ? 0 : fail("gnutls_privkey_sign_hash2", (unsigned long)-rv);
}

static void open_tls(void)
{
	open_module();
	check("priority", gnutls_priority_init(&priority, "NORMAL:-VERS-ALL:+VERS-TLS1.2", NULL));
	check("credentials", gnutls_certificate_allocate_credentials(&own));
	check("root.pem", gnutls_certificate_set_x509_trust_file(own, file("root.pem"), GNUTLS_X509_FMT_PEM));
	check("unit.pem", gnutls_certificate_set_x509_key_file(own, file("unit.pem"), url("unit_key"), GNUTLS_X509_FMT_PEM));
}

struct visitor {
	gnutls_datum_t session;
	int resumes;
};

static void *visitor(int number)
{
	(void)number;
	return calloc(1, sizeof(struct visitor));
}

static void *resumer(int number)
{
	struct visitor *v = visitor(number);
	v->resumes = 1;
	return v;
}

static int shake(gnutls_session_t s)
{
	int rv;
	do
		rv = gnutls_handshake(s);
	while (rv < 0 && !gnutls_error_is_fatal(rv));
	return rv;
}

static int shake_hands(struct visitor *v, gnutls_session_t s)
{
	if (v->session.data)
		gnutls_session_set_data(s, v->session.data, v->session.size);
	int rv = shake(s);
	if (rv < 0)
		return fail("gnutls_handshake", (unsigned long)-rv);
	if (gnutls_session_is_resumed(s))
		atomic_fetch_add(&resumed, 1);
	if (v->resumes) {
		gnutls_free(v->session.data);
		gnutls_session_get_data2(s, &v->session);
	}
	gnutls_bye(s, GNUTLS_SHUT_WR);
	return 0;
}

static int visit(void *worker)
{
	gnutls_session_t s;
	int fd = dial(env("BENCH_ADDRESS"));
	if (fd < 0)
		return fail("connect", 0);
	gnutls_init(&s, GNUTLS_CLIENT);
	gnutls_priority_set(s, priority);
	gnutls_credentials_set(s, GNUTLS_CRD_CERTIFICATE, own);
	gnutls_session_set_verify_cert(s, NULL, 0);
	gnutls_transport_set_int(s, fd);
	int rv = shake_hands(worker, s);
	gnutls_deinit(s);
	close(fd);
	return rv;
}

static int start(void *worker)
{
	open_tls();
	return visit(worker);
}

static void serve_one(int fd)
{
	gnutls_session_t s;
	char b[256];
	gnutls_init(&s, GNUTLS_SERVER);
	gnutls_priority_set(s, priority);
	gnutls_credentials_set(s, GNUTLS_CRD_CERTIFICATE, own);
	gnutls_certificate_server_set_request(s, GNUTLS_CERT_REQUIRE);
	gnutls_session_set_verify_cert(s, NULL, 0);
	gnutls_session_ticket_enable_server(s, &ticket_key);
	gnutls_transport_set_int(s, fd);
	if (shake(s) >= 0)
		while (gnutls_record_recv(s, b, sizeof b) > 0)
			;
	gnutls_deinit(s);
	close(fd);
}

_Noreturn static void *serve(void *arg)
{
	(void)arg;
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC), on = 1;
		if (fd < 0)
			continue;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
		serve_one(fd);
	}
}

static void open_server(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof a;
	pthread_t t;
	open_tls();
	check("ticket key", gnutls_session_ticket_key_generate(&ticket_key));
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(listener, (struct sockaddr *)&a, sizeof a) != 0 || listen(listener, 512) != 0 || getsockname(listener, (struct sockaddr *)&a, &len) != 0)
		die("listen", 0);
	snprintf(address, sizeof address, "127.0.0.1:%d", ntohs(a.sin_port));
	for (int i = 0; i < SERVERS; i++)
		pthread_create(&t, NULL, serve, NULL);
}

int main(int argc, char **argv)
{
	static const struct workload workloads[] = {
		{"sign-pkcs1", open_pkcs1, NULL, sign, NULL},
		{"sign-pss", open_pss, NULL, sign, NULL},
		{"sign-p256", open_p256, NULL, sign, NULL},
		{"handshake", open_tls, visitor, visit, NULL},
		{"resumed", open_tls, resumer, visit, NULL},
		{"start", NULL, visitor, start, NULL},
		{"serve", open_server, NULL, NULL, NULL},
		{0},
	};
	return contend(argc, argv, workloads);
}
