/* SPDX-License-Identifier: BSD-3-Clause */
/* What a device-dax device is, as its driver tells. For the room's own files. */
#ifndef LEASEHOLD_EXPORT_DEVICE_H
#define LEASEHOLD_EXPORT_DEVICE_H

#include "util/util.h"

#include <sys/types.h>

struct device {
	char name[32]; /* "dax0.0" */
	uint64_t bytes;
	uint64_t align;	  /* of mappings: a page of the device's */
	bool durable;	  /* on an NVDIMM, or whatever else keeps it without power */
	uint8_t uuid[16]; /* of its namespace; zeros if it is on none */
	uint64_t number;  /* among those of the same UUID */
};

/**
 * Looks the character device `number` (st_rdev) up; `path` is for the sentence. -EINVAL: no device-dax
 * device. Worker thread.
 */
MUST_CHECK int device_look(dev_t number, const char *path, struct device *device,
			   struct errtext *err);

/**
 * Why there is no device node `path`: if its name is that of a device which the kernel uses as ordinary
 * memory (system-ram), or that is disabled, -EBUSY and a sentence that says how to change it; else 0.
 */
int device_missing(const char *path, struct errtext *err);

#endif
