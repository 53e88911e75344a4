// SPDX-License-Identifier: BSD-3-Clause
/*
 * Device-dax: memory that the kernel hands out as a character device, with no file system on it. Those on
 * an NVDIMM are found by libndctl, which knows their namespace's UUID and that they keep their content;
 * all others (CXL, soft-reserved memory) by libdaxctl alone. Worker threads.
 */
#include "device.h"

#include <daxctl/libdaxctl.h>
#include <errno.h>
#include <limits.h>
#include <ndctl/libndctl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static struct daxctl_dev *find_in(struct daxctl_region *region, dev_t number)
{
	struct daxctl_dev *dev;

	if (!region)
		return NULL;
	daxctl_dev_foreach(region, dev)
	{
		if (daxctl_dev_get_major(dev) == (int)major(number) &&
		    daxctl_dev_get_minor(dev) == (int)minor(number))
			return dev;
	}
	return NULL;
}

/* On an NVDIMM; `ctx` keeps what is found. */
static struct daxctl_dev *find_durable(struct ndctl_ctx *ctx, dev_t number, struct device *device)
{
	struct ndctl_bus *bus;
	struct ndctl_region *region;
	struct ndctl_dax *dax;

	ndctl_bus_foreach(ctx, bus) ndctl_region_foreach(bus, region) ndctl_dax_foreach(region, dax)
	{
		struct daxctl_dev *dev = find_in(ndctl_dax_get_daxctl_region(dax), number);

		if (!dev)
			continue;
		device->durable = true;
		ndctl_dax_get_uuid(dax, device->uuid);
		device->number = (uint64_t)daxctl_dev_get_id(dev);
		return dev;
	}
	return NULL;
}

static struct daxctl_dev *find_any(struct daxctl_ctx *ctx, dev_t number, struct device *device)
{
	struct daxctl_region *region;

	daxctl_region_foreach(ctx, region)
	{
		struct daxctl_dev *dev = find_in(region, number);

		if (!dev)
			continue;
		device->durable = false;
		device->number = (uint64_t)daxctl_region_get_id(region) << 32 |
				 (uint64_t)(unsigned int)daxctl_dev_get_id(dev);
		return dev;
	}
	return NULL;
}

/* Both libraries' sight of the machine; one that cannot be had sees nothing. */
struct sight {
	struct ndctl_ctx *nd;
	struct daxctl_ctx *dax;
};

static struct daxctl_dev *find(struct sight *s, dev_t number, struct device *device)
{
	struct daxctl_dev *dev = NULL;

	*s = (struct sight){0};
	*device = (struct device){0};
	if (ndctl_new(&s->nd) == 0)
		dev = find_durable(s->nd, number, device);
	else
		s->nd = NULL;
	if (!dev && daxctl_new(&s->dax) != 0)
		s->dax = NULL;
	if (!dev && s->dax)
		dev = find_any(s->dax, number, device);
	return dev;
}

static void sight_end(struct sight *s)
{
	if (s->nd)
		ndctl_unref(s->nd);
	if (s->dax)
		daxctl_unref(s->dax);
}

int device_look(dev_t number, const char *path, struct device *device, struct errtext *err)
{
	struct sight sight;
	struct daxctl_dev *dev = find(&sight, number, device);
	int ret = 0;

	if (dev) {
		(void)snprintf(device->name, sizeof(device->name), "%s",
			       daxctl_dev_get_devname(dev));
		device->bytes = daxctl_dev_get_size(dev);
		device->align = daxctl_dev_get_align(dev);
	} else {
		ret = errtext_set(err, -EINVAL,
				  "%s is neither a regular file nor a device-dax device", path);
	}
	if (!ret && device->bytes == 0)
		ret = errtext_set(err, -EINVAL,
				  "%s has no memory: give %s some (daxctl "
				  "reconfigure-device --size)",
				  path, device->name);
	sight_end(&sight);
	return ret;
}

int device_missing(const char *path, struct errtext *err)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	char folder[128], link[128], driver[PATH_MAX] = "";
	int n = snprintf(folder, sizeof(folder), "/sys/bus/dax/devices/%s", name);

	/* The libraries do not list a device that has no node. */
	if (name[0] == '.' || (size_t)n >= sizeof(folder) || access(folder, F_OK) != 0)
		return 0;
	(void)snprintf(link, sizeof(link), "%.110s/driver", folder);
	if (readlink(link, driver, sizeof(driver) - 1) < 0)
		return errtext_set(err, -EBUSY,
				   "%s is disabled: \"daxctl enable-device %s\" makes it a device",
				   name, name);
	slash = strrchr(driver, '/');
	if (strcmp(slash ? slash + 1 : driver, "kmem") != 0)
		return 0;
	return errtext_set(
		err, -EBUSY,
		"%s is in system-ram mode: the kernel uses it as ordinary memory; \"daxctl "
		"reconfigure-device --mode=devdax %s\" makes it a device",
		name, name);
}
