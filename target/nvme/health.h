/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a controller remembers of its commands: figures for the SMART log, errors for the error log.
 * Figures are counted by each queue's reactor for itself and summed up on control. Errors come from
 * every reactor, seldom, under a lock.
 */
#ifndef LEASEHOLD_NVME_HEALTH_H
#define LEASEHOLD_NVME_HEALTH_H

#include "util/util.h"
#include "wire/nvme.h"

#include <pthread.h>
#include <stdatomic.h>

#define ERROR_LOG_ENTRIES 64

struct controller;
struct request;

/** One writer, any reader. */
struct figures {
	_Atomic uint64_t reads, writes; /* commands */
	_Atomic uint64_t read_bytes, written_bytes;
	_Atomic uint64_t media_errors;
};

static inline void figures_count(_Atomic uint64_t *figure, uint64_t n)
{
	atomic_store_explicit(figure, atomic_load_explicit(figure, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

struct error_log {
	pthread_mutex_t lock;
	uint64_t count; /* of all errors; the newest's number */
	struct nvme_error_entry entries[ERROR_LOG_ENTRIES];
};

void error_log_init(struct error_log *log);
void error_log_fini(struct error_log *log);
/** The newest first. */
void error_log_copy(struct error_log *log, struct nvme_error_entry entries[ERROR_LOG_ENTRIES]);
/** How many there were. */
uint64_t error_log_count(struct error_log *log);

/** Reactor: an error is about to be answered. Logs it and says so in its status, if it belongs there. */
void health_error(struct request *r);

/** Adds up. `to` is the caller's alone. */
void figures_fold(struct figures *to, const struct figures *from);
#define HEALTH_SENSORS "/sys/class/hwmon"

#define HEALTH_LOOK_MS 10000 /* how often, for who wants to be told */

/** Worker: of the warmest memory module whose sensor is in that folder, in kelvins; 0: there is none. */
uint16_t health_memory_temperature(const char *dir);

/** Control: the SMART log of the subsystem since the target's start, but for the temperature. */
void health_smart(struct controller *c, struct nvme_smart_log *log);

#endif
