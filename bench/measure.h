/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the measuring programs share: times taken and what they come to, processor time, arguments, the
 * end after a failure. One thread, but for random_place(), samples_add() and die().
 */
#ifndef LEASEHOLD_BENCH_MEASURE_H
#define LEASEHOLD_BENCH_MEASURE_H

#include "util/util.h"

#include <sys/types.h>

/** Prints "PROGRAM: sentence" and exits with 1. */
__attribute__((noreturn)) void die(const char *fmt, ...) PRINTF_LIKE(1, 2);

/** An argument: a number, "64k" … (size_parse()), from `min` to `max`; dies of any other. */
uint64_t number(const char *text, uint64_t min, uint64_t max);

/**
 * For the process of the other side: it goes to the processors that this one may not use, if there are
 * any (scripts/bench gives each side its half).
 */
void move_apart(void);

/** A place for the next access of `bytes`: a multiple of it in [0, size), by a generator of the thread's own. */
uint64_t random_place(uint64_t size, uint64_t bytes);

#define SAMPLES_MAX 2000000u

/** Times, ns. Zero is empty. Those beyond SAMPLES_MAX are not kept. */
struct samples {
	uint64_t *ns;
	size_t count, room;
};

void samples_add(struct samples *s, uint64_t ns);

/** Prints the inner part of a JSON object, "count", mean and percentiles in µs; frees. */
void samples_print(struct samples *s);

/** What a run came to. */
struct run {
	struct samples samples;
	uint64_t bytes;
	uint64_t begun_ns;
	uint64_t own_cpu_ns, peer_cpu_ns; /* when it began; then what it took */
	pid_t peer;			  /* the process of the other side */
};

/** The clock and both sides' processor time begin, and what is there of samples is forgotten. */
void run_begin(struct run *r, pid_t peer);

/** They end. Prints all as one line of JSON. */
void run_end(struct run *r);

/** Processor time that a process has taken, all its threads, ns. Dies if there is no such process. */
uint64_t cpu_ns(pid_t pid);

#endif
