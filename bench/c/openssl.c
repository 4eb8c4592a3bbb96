// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build ignore

// OpenSSL with the pkcs11 engine. With BENCH_KEY=file the key is one in a file
// instead: that is the client that puts load on servers.

#define OPENSSL_API_COMPAT 10100 // engines are deprecated, and what there is
#include "contend.h"

#include <openssl/engine.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>

static SSL_CTX *ctx;
static EVP_PKEY *key;
static int padding; // zero for ECDSA

static int failed(const char *what)
{
	unsigned long code = ERR_get_error();
	ERR_clear_error();
	return fail(what, code);
}

static void check(const char *what, int ok)
{
	if (!ok)
		die(what, ERR_get_error());
}

static void open_key(const char *label)
{
	char uri[512];
	ENGINE_load_builtin_engines();
	ENGINE *e = ENGINE_by_id("pkcs11");
	check("engine", e != NULL);
	check("MODULE_PATH", ENGINE_ctrl_cmd_string(e, "MODULE_PATH", env("BENCH_MODULE"), 0));
	check("PIN", ENGINE_ctrl_cmd_string(e, "PIN", env("BENCH_PIN"), 0));
	check("ENGINE_init", ENGINE_init(e));
	snprintf(uri, sizeof uri, "pkcs11:token=%s;object=%s;type=private", env("BENCH_TOKEN"), label);
	key = ENGINE_load_private_key(e, uri, NULL, NULL);
	check("key", key != NULL);
}

static void open_pkcs1(void)
{
	open_key("unit_key");
	padding = RSA_PKCS1_PADDING;
}

static void open_pss(void)
{
	open_key("unit_key");
	padding = RSA_PKCS1_PSS_PADDING;
}

static void open_p256(void) { open_key("p256_key"); }

static void *signer(int number)
{
	(void)number;
	EVP_PKEY_CTX *c = EVP_PKEY_CTX_new(key, NULL);
	check("EVP_PKEY_sign_init", c && EVP_PKEY_sign_init(c) > 0);
	check("EVP_PKEY_CTX_set_signature_md", EVP_PKEY_CTX_set_signature_md(c, EVP_sha256()) > 0);
	if (padding)
		check("padding", EVP_PKEY_CTX_set_rsa_padding(c, padding) > 0);
	if (padding == RSA_PKCS1_PSS_PADDING)
		check("salt", EVP_PKEY_CTX_set_rsa_pss_saltlen(c, 32) > 0);
	return c;
}

static int sign(void *worker)
{
	unsigned char digest[32] = {0}, signature[512];
	size_t len = sizeof signature;
	return EVP_PKEY_sign(worker, signature, &len, digest, sizeof digest) > 0 ? 0 : failed("EVP_PKEY_sign");
}

static void open_tls(void)
{
	ctx = SSL_CTX_new(TLS_client_method());
	check("SSL_CTX_new", ctx != NULL);
	check("version", SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) && SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION));
	check("root.pem", SSL_CTX_load_verify_locations(ctx, file("root.pem"), NULL));
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	if (strcmp(env("BENCH_KEY"), "file") == 0) {
		check("peer.pem", SSL_CTX_use_certificate_chain_file(ctx, file("peer.pem")));
		check("peer.key", SSL_CTX_use_PrivateKey_file(ctx, file("peer.key"), SSL_FILETYPE_PEM));
		return;
	}
	open_key("unit_key");
	check("unit.pem", SSL_CTX_use_certificate_chain_file(ctx, file("unit.pem")));
	check("key", SSL_CTX_use_PrivateKey(ctx, key));
}

// A visitor is a worker that dials. It offers its session again if there is one.
struct visitor {
	SSL_SESSION *session;
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

static int shake_hands(struct visitor *v, SSL *ssl)
{
	X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), "127.0.0.1");
	if (v->session)
		SSL_set_session(ssl, v->session);
	if (SSL_connect(ssl) != 1)
		return failed("SSL_connect");
	if (SSL_session_reused(ssl))
		atomic_fetch_add(&resumed, 1);
	if (v->resumes) {
		SSL_SESSION_free(v->session);
		v->session = SSL_get1_session(ssl);
	}
	SSL_shutdown(ssl);
	return 0;
}

static int visit(void *worker)
{
	int fd = dial(env("BENCH_ADDRESS"));
	if (fd < 0)
		return fail("connect", 0);
	SSL *ssl = SSL_new(ctx);
	int rv = ssl && SSL_set_fd(ssl, fd) ? shake_hands(worker, ssl) : failed("SSL_new");
	SSL_free(ssl);
	close(fd);
	return rv;
}

static int start(void *worker)
{
	open_tls();
	return visit(worker);
}

int main(int argc, char **argv)
{
	static const struct workload workloads[] = {
		{"sign-pkcs1", open_pkcs1, signer, sign, NULL},
		{"sign-pss", open_pss, signer, sign, NULL},
		{"sign-p256", open_p256, signer, sign, NULL},
		{"handshake", open_tls, visitor, visit, NULL},
		{"resumed", open_tls, resumer, visit, NULL},
		{"start", NULL, visitor, start, NULL},
		{0},
	};
	return contend(argc, argv, workloads);
}
