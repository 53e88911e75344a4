/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * leaseholdd --doctor: what this machine can do for a configuration, and what stands in the way. It does what
 * the daemon does at start, as far as that leaves no trace: on scratch files beside the exports' own, which
 * are removed, and with listeners that are closed at once.
 */
#ifndef LEASEHOLD_DOCTOR_H
#define LEASEHOLD_DOCTOR_H

#include <stdbool.h>

/**
 * Looks, with the configuration of `file`, and prints what it finds to standard output. Returns the exit
 * status: EXIT_FAILURE if a check failed. In main(), instead of a daemon: one thread, and seconds.
 */
int doctor_run(const char *file, bool json);

#endif
