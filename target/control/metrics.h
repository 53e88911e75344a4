/* SPDX-License-Identifier: BSD-3-Clause */
/* What the daemon counts, for Prometheus and its like. The room's own. */
#ifndef LEASEHOLD_CONTROL_METRICS_H
#define LEASEHOLD_CONTROL_METRICS_H

#include "control/control.h"

/**
 * All of it as OpenMetrics 1.0 text, freed with free(3); NULL: no memory. `bytes` is its length. Control
 * loop.
 */
char *metrics_text(const struct admin_env *env, size_t *bytes);

#define METRICS_CONTENT_TYPE "application/openmetrics-text; version=1.0.0; charset=utf-8"

#endif
