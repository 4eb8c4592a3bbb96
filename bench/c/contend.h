// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

// What the C contenders have in common: the line protocol of package contend.
// A program defines its workloads and calls contend().

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { WORKERS = 4096 };

// A workload. Open, if there is one, is called once, before "ready". Worker
// makes what a worker keeps, and is not measured; once does the operation and
// returns 0, or says why not with fail(). After follows it and is not measured.
struct workload {
	const char *name;
	void (*open)(void);
	void *(*worker)(int number);
	int (*once)(void *worker);
	int (*after)(void *worker);
};

static atomic_ulong resumed; // handshakes that resumed a session
static char address[64];     // where a server listens

static char reason[256]; // of the first failure
static pthread_mutex_t reason_lock = PTHREAD_MUTEX_INITIALIZER;

static int fail(const char *what, unsigned long code)
{
	pthread_mutex_lock(&reason_lock);
	if (!reason[0])
		snprintf(reason, sizeof reason, "%s: 0x%lx", what, code);
	pthread_mutex_unlock(&reason_lock);
	return -1;
}

static void die(const char *what, unsigned long code)
{
	printf("error %s: 0x%lx\n", what, code);
	exit(1);
}

static const char *env(const char *name)
{
	const char *value = getenv(name);
	return value ? value : "";
}

// file is the path of one of the files in the world.
static const char *file(const char *name)
{
	static char path[4][512];
	static int next;
	char *p = path[next++ & 3];
	snprintf(p, sizeof path[0], "%s/%s", env("BENCH_FILES"), name);
	return p;
}

static uint64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

// dial connects to "127.0.0.1:PORT".
static inline int dial(const char *to)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const char *port = strrchr(to, ':');
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
	a.sin_port = htons((uint16_t)(port ? atoi(port + 1) : 0));
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) != 0) {
		if (fd >= 0)
			close(fd);
		return -1;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	return fd;
}

struct task {
	pthread_t thread;
	void *worker;
	uint64_t *took;
	size_t n, room;
	unsigned long failed;
};

static const struct workload *work;
static struct task tasks[WORKERS];
static uint64_t deadline;
static pthread_barrier_t begin;

static void *toil(void *arg)
{
	struct task *t = arg;
	pthread_barrier_wait(&begin);
	do {
		uint64_t from = now();
		int rv = work->once(t->worker);
		uint64_t took = now() - from;
		if (rv == 0 && work->after)
			rv = work->after(t->worker);
		if (rv != 0) {
			t->failed++;
			continue;
		}
		if (t->n == t->room) {
			t->room = t->room ? 2 * t->room : 1024;
			if (!(t->took = realloc(t->took, t->room * sizeof *t->took)))
				abort();
		}
		t->took[t->n++] = took;
	} while (now() < deadline);
	return NULL;
}

static int ascending(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

// tell writes how it went.
static void tell(int workers, uint64_t ns, unsigned long resumptions)
{
	size_t n = 0, at = 0;
	unsigned long failed = 0;
	for (int i = 0; i < workers; i++) {
		n += tasks[i].n;
		failed += tasks[i].failed;
	}
	uint64_t *all = malloc((n + 1) * sizeof *all);
	if (!all)
		abort();
	for (int i = 0; i < workers; i++) {
		memcpy(all + at, tasks[i].took, tasks[i].n * sizeof *all);
		at += tasks[i].n;
	}
	qsort(all, n, sizeof *all, ascending);
	printf("done count=%zu failed=%lu ns=%llu p50=%llu p99=%llu max=%llu resumed=%lu", n, failed, (unsigned long long)ns,
		n ? (unsigned long long)all[n / 2] : 0, n ? (unsigned long long)all[n * 99 / 100] : 0,
		n ? (unsigned long long)all[n - 1] : 0, resumptions);
	printf(failed ? " error=%s\n" : "\n", reason);
	free(all);
}

static void run(int workers, uint64_t ms)
{
	unsigned long before = atomic_load(&resumed);
	reason[0] = 0;
	pthread_barrier_init(&begin, NULL, (unsigned)workers + 1);
	deadline = UINT64_MAX; // until everybody is here
	for (int i = 0; i < workers; i++) {
		struct task *t = &tasks[i];
		t->n = t->failed = 0;
		if (!t->took && !(t->took = malloc((t->room = 1024) * sizeof *t->took)))
			abort();
		if (!t->worker && work->worker)
			t->worker = work->worker(i);
		if (pthread_create(&t->thread, NULL, toil, t) != 0)
			die("pthread_create", (unsigned long)i);
	}
	uint64_t from = now();
	deadline = from + ms * 1000000;
	pthread_barrier_wait(&begin);
	for (int i = 0; i < workers; i++)
		pthread_join(tasks[i].thread, NULL);
	tell(workers, now() - from, atomic_load(&resumed) - before);
	pthread_barrier_destroy(&begin);
}

// contend answers the driver until standard input ends.
static int contend(int argc, char **argv, const struct workload *workloads)
{
	char line[128];
	int workers;
	unsigned long ms;
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (work = workloads; work->name && argc == 2 && strcmp(work->name, argv[1]) != 0; work++)
		;
	if (argc != 2 || !work->name)
		die("no such workload", 0);
	if (work->open)
		work->open();
	printf("ready %s\n", address);
	while (fgets(line, sizeof line, stdin)) {
		if (sscanf(line, "run %d %lu", &workers, &ms) != 2 || workers < 1 || workers > WORKERS || !work->once)
			die("what?", 0);
		run(workers, ms);
	}
	_exit(0);
}
