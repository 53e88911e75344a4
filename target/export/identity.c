// SPDX-License-Identifier: BSD-3-Clause
/*
 * An export's identity: the UUID and NGUID that hosts know it by, and the file they were given to,
 * told by file-system UUID, inode and inode generation; of a device, its namespace's UUID and its number
 * in it. A host that finds another file under a UUID
 * it knows would take it for its own disk, so a mismatch is an error that a person resolves.
 * Worker threads.
 *
 *   uuid=4f0c5f0e-0f5b-4c7e-9d3a-0a4d6f3b2c11
 *   nguid=7d444840-9dc0-41d1-b245-5ffdce74fad2
 *   filesystem_uuid=...   (where the kernel tells it)
 *   filesystem_id=...     (f_fsid; compared only without filesystem_uuid)
 *   inode=12
 *   inode_generation=...  (where there is one)
 *   holes_filled=1        (prepare = allocate was done: holes that there are now are somebody's wish)
 */
#include "identity.h"

#include <errno.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "file.h"
#include "util/state_file.h"

#define IDENTITY_MAX_BYTES 4096

/* linux/fs.h of Linux 6.9; older headers lack it, older kernels answer ENOTTY. */
struct fs_uuid {
	uint8_t len;
	uint8_t uuid[16];
};
#define IOC_GETFSUUID _IOR(0x15, 0, struct fs_uuid)

enum key {
	KEY_UUID,
	KEY_NGUID,
	KEY_FS_UUID,
	KEY_FS_ID,
	KEY_INODE,
	KEY_GENERATION,
	KEY_FILLED,
	NR_KEYS,
};

static const char *const key_names[NR_KEYS] = {
	[KEY_UUID] = "uuid",	       [KEY_NGUID] = "nguid", [KEY_FS_UUID] = "filesystem_uuid",
	[KEY_FS_ID] = "filesystem_id", [KEY_INODE] = "inode", [KEY_GENERATION] = "inode_generation",
	[KEY_FILLED] = "holes_filled",
};

#define REQUIRED_KEYS (1u << KEY_UUID | 1u << KEY_NGUID | 1u << KEY_FS_ID | 1u << KEY_INODE)

struct record {
	unsigned int have; /* bit by enum key */
	struct export_identity identity;
	uint8_t fs_uuid[16];
	uint64_t fs_id;
	uint64_t inode;
	uint64_t generation;
	uint64_t filled; /* 1, if it is there */
	dev_t dev;	 /* not kept: numbers change from boot to boot */
};

/* ---- the file as it is ----------------------------------------------------------------------- */

/* Its namespace takes the file system's place; its node's inode is another after each boot. */
static void look_device(const struct device *device, struct record *r)
{
	static const uint8_t none[16];

	*r = (struct record){.have = 1u << KEY_FS_ID | 1u << KEY_INODE};
	r->inode = device->number;
	if (memcmp(device->uuid, none, sizeof(none)) != 0) {
		memcpy(r->fs_uuid, device->uuid, sizeof(r->fs_uuid));
		r->have |= 1u << KEY_FS_UUID;
	}
}

static int look(const struct export *e, struct record *r)
{
	struct fs_uuid fs_uuid = {0};
	struct statfs fs;
	struct stat st;
	int fd = e->fd, generation;

	if (e->medium == EXPORT_DEVICE) {
		look_device(&e->device, r);
		return 0;
	}
	if (fstat(fd, &st) || fstatfs(fd, &fs))
		return -errno;
	*r = (struct record){.have = 1u << KEY_FS_ID | 1u << KEY_INODE};
	r->inode = st.st_ino;
	r->dev = st.st_dev;
	memcpy(&r->fs_id, &fs.f_fsid, sizeof(r->fs_id));
	if (!ioctl(fd, IOC_GETFSUUID, &fs_uuid) && fs_uuid.len == sizeof(r->fs_uuid)) {
		memcpy(r->fs_uuid, fs_uuid.uuid, sizeof(r->fs_uuid));
		r->have |= 1u << KEY_FS_UUID;
	}
	if (!ioctl(fd, FS_IOC_GETVERSION, &generation)) {
		r->generation = (uint32_t)generation;
		r->have |= 1u << KEY_GENERATION;
	}
	return 0;
}

/* What differs, for people; NULL if nothing does. What only one side knows proves nothing. */
static const char *difference(const struct record *was, const struct record *is)
{
	unsigned int both = was->have & is->have;

	if (both & 1u << KEY_FS_UUID) {
		if (memcmp(was->fs_uuid, is->fs_uuid, sizeof(was->fs_uuid)) != 0)
			return "file system";
	} else if (was->fs_id != is->fs_id) {
		return "file system";
	}
	if (was->inode != is->inode)
		return "inode";
	if (both & 1u << KEY_GENERATION && was->generation != is->generation)
		return "inode generation";
	return NULL;
}

int identity_mark(const struct export *e, struct identity_mark *mark)
{
	struct record r = {0};
	int ret = look(e, &r);

	if (ret)
		return ret;
	*mark = (struct identity_mark){
		.have = r.have,
		.fs_id = r.fs_id,
		.inode = r.inode,
		.generation = r.generation,
	};
	memcpy(mark->fs_uuid, r.fs_uuid, sizeof(mark->fs_uuid));
	return 0;
}

static struct record of_mark(const struct identity_mark *mark)
{
	struct record r = {
		.have = (unsigned int)mark->have,
		.fs_id = mark->fs_id,
		.inode = mark->inode,
		.generation = mark->generation,
	};

	memcpy(r.fs_uuid, mark->fs_uuid, sizeof(r.fs_uuid));
	return r;
}

bool identity_same(const struct identity_mark *was, const struct identity_mark *is)
{
	const struct record a = of_mark(was), b = of_mark(is);

	return !difference(&a, &b);
}

/* ---- text ------------------------------------------------------------------------------------ */

static int parse_number(const char *text, int base, uint64_t *value)
{
	char *end;

	if (*text == '\0' || strspn(text, "0123456789abcdef") != strlen(text))
		return -EINVAL;
	errno = 0;
	*value = strtoull(text, &end, base);
	return errno || *end != '\0' ? -EINVAL : 0;
}

static int parse_value(struct record *r, enum key key, const char *text)
{
	switch (key) {
	case KEY_UUID:
		return uuid_parse(text, r->identity.uuid);
	case KEY_NGUID:
		return uuid_parse(text, r->identity.nguid);
	case KEY_FS_UUID:
		return uuid_parse(text, r->fs_uuid);
	case KEY_FS_ID:
		return parse_number(text, 16, &r->fs_id);
	case KEY_INODE:
		return parse_number(text, 10, &r->inode);
	case KEY_GENERATION:
		return parse_number(text, 10, &r->generation);
	case KEY_FILLED:
		return parse_number(text, 10, &r->filled);
	case NR_KEYS:
		break;
	}
	return -EINVAL;
}

static int parse_line(struct record *r, char *line)
{
	char *value = strchr(line, '=');

	if (line[0] == '#' || line[0] == '\0')
		return 0;
	if (!value)
		return -EINVAL;
	*value++ = '\0';
	for (enum key key = 0; key < NR_KEYS; key++) {
		if (strcmp(line, key_names[key]) != 0)
			continue;
		if (r->have & 1u << key)
			return -EINVAL;
		r->have |= 1u << key;
		return parse_value(r, key, value);
	}
	return -EINVAL;
}

/* Takes `text` apart in place. */
static int parse(char *text, const char *path, struct record *r, struct errtext *err)
{
	unsigned int line = 0;

	*r = (struct record){0};
	while (text) {
		char *end = strchr(text, '\n');

		line++;
		if (end)
			*end++ = '\0';
		if (parse_line(r, text))
			return errtext_set(
				err, -EBADMSG,
				"%s line %u makes no sense: mend the file, or remove it to "
				"give the export a new identity",
				path, line);
		text = end;
	}
	for (enum key key = 0; key < NR_KEYS; key++)
		if (REQUIRED_KEYS & ~r->have & 1u << key)
			return errtext_set(
				err, -EBADMSG,
				"%s line %u: the file ends without %s: mend the file, or "
				"remove it to give the export a new identity",
				path, line, key_names[key]);
	return 0;
}

static void format_uuid(FILE *out, enum key key, const uint8_t uuid[16])
{
	char text[UUID_TEXT_BYTES];

	uuid_format(uuid, text);
	(void)fprintf(out, "%s=%s\n", key_names[key], text);
}

/* Returns a text to free, or NULL. */
static char *format(const struct record *r)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return NULL;
	format_uuid(out, KEY_UUID, r->identity.uuid);
	format_uuid(out, KEY_NGUID, r->identity.nguid);
	if (r->have & 1u << KEY_FS_UUID)
		format_uuid(out, KEY_FS_UUID, r->fs_uuid);
	(void)fprintf(out, "%s=%016llx\n", key_names[KEY_FS_ID], (unsigned long long)r->fs_id);
	(void)fprintf(out, "%s=%llu\n", key_names[KEY_INODE], (unsigned long long)r->inode);
	if (r->have & 1u << KEY_GENERATION)
		(void)fprintf(out, "%s=%llu\n", key_names[KEY_GENERATION],
			      (unsigned long long)r->generation);
	if (r->filled)
		(void)fprintf(out, "%s=1\n", key_names[KEY_FILLED]);
	if (fclose(out)) {
		free(text);
		return NULL;
	}
	return text;
}

/* ---- the state directory --------------------------------------------------------------------- */

static int keep(int dir, const char *path, const char *name, const struct record *r,
		struct errtext *err)
{
	char *text = format(r);
	int ret = text ? state_file_write(dir, name, text) : -ENOMEM;

	free(text);
	if (ret)
		return errtext_set(err, ret, "cannot write %s: %s", path, strerror(-ret));
	return 0;
}

static int create(int dir, const char *path, const char *name, struct record *r,
		  struct errtext *err)
{
	uuid_random(r->identity.uuid);
	uuid_random(r->identity.nguid);
	return keep(dir, path, name, r, err);
}

static int get_kept(int dir, const char *path, const char *name, bool adopt, struct record *now,
		    char **before, struct errtext *err)
{
	char text[IDENTITY_MAX_BYTES] = "";
	const char *what;
	struct record kept;
	int ret;

	ret = state_file_read(dir, name, text, sizeof(text));
	*before = strdup(text);
	if (!*before)
		return errtext_set(err, -ENOMEM, "out of memory");
	if (ret == -ENOENT)
		return create(dir, path, name, now, err);
	/* What is cut off makes no sense either, and the sentence names the line. */
	if (ret && ret != -EFBIG)
		return errtext_set(err, ret, "cannot read %s: %s", path, strerror(-ret));
	ret = parse(text, path, &kept, err);
	if (ret)
		return ret;
	what = difference(&kept, now);
	if (what && !adopt)
		return errtext_set(
			err, -EREMCHG,
			"not the file that export %s was (another %s): hosts would take it "
			"for the disk they know. If it is meant to be that disk: leasehold export "
			"add --adopt %s; else remove %s to give it a new identity",
			name, what, name, path);
	now->identity = kept.identity;
	/* Who adopts a file means it as it is to be now. */
	now->filled = adopt ? 0 : kept.filled;
	if (what || now->filled != kept.filled)
		return keep(dir, path, name, now, err);
	free(*before);
	*before = NULL;
	return 0;
}

/* ---- without a state directory --------------------------------------------------------------- */

/* FNV-1a with 128 bits. */
static void hash(unsigned __int128 *h, const void *data, size_t len)
{
	const unsigned __int128 prime = ((unsigned __int128)1 << 88) + 0x13b;
	const uint8_t *p = data;

	for (size_t i = 0; i < len; i++)
		*h = (*h ^ p[i]) * prime;
}

/* A version-8 UUID (RFC 9562 §5.8): ours to define, the same as long as the file stays. */
static void derive(const char *kind, const char *name, const struct record *r, uint8_t out[16])
{
	unsigned __int128 h =
		(unsigned __int128)0x6c62272e07bb0142 << 64 | 0x62b821756295c58d; /* FNV offset */
	uint64_t numbers[2] = {r->dev, r->inode};

	hash(&h, kind, strlen(kind) + 1);
	hash(&h, name, strlen(name) + 1);
	hash(&h, numbers, sizeof(numbers));
	for (int i = 0; i < 16; i++)
		out[i] = (uint8_t)(h >> (120 - 8 * i));
	out[6] = (uint8_t)((out[6] & 0x0f) | 0x80);
	out[8] = (uint8_t)((out[8] & 0x3f) | 0x80);
}

static int open_folder(const char *state_dir, const char *name, int *dir, char **path,
		       struct errtext *err)
{
	*dir = state_folder_open(state_dir, "exports");
	if (*dir < 0)
		return errtext_set(err, *dir, "cannot use the state directory %s: %s", state_dir,
				   strerror(-*dir));
	if (asprintf(path, "%s/exports/%s", state_dir, name) >= 0)
		return 0;
	(void)close(*dir);
	return errtext_set(err, -ENOMEM, "out of memory");
}

int identity_get(const char *state_dir, const struct export *e, bool adopt,
		 struct export_identity *identity, char **before, bool *filled, struct errtext *err)
{
	const char *name = e->name;
	struct record now = {0};
	char *path = NULL;
	int dir = -1, ret;

	if (name[0] == '\0' || name[0] == '.' || strchr(name, '/') || strlen(name) >= LH_NAME_BYTES)
		return errtext_set(err, -EINVAL, "not an export's name");
	*before = NULL;
	*filled = false;
	ret = look(e, &now);
	if (ret)
		return errtext_set(err, ret, "cannot tell which file it is: %s", strerror(-ret));
	if (state_dir[0] == '\0') {
		derive("uuid", name, &now, identity->uuid);
		derive("nguid", name, &now, identity->nguid);
		return 0;
	}
	ret = open_folder(state_dir, name, &dir, &path, err);
	if (ret)
		return ret;
	ret = get_kept(dir, path, name, adopt, &now, before, err);
	if (ret) {
		free(*before);
		*before = NULL;
	} else {
		*identity = now.identity;
		*filled = now.filled != 0;
	}
	free(path);
	(void)close(dir);
	return ret;
}

int identity_filled(const char *state_dir, const char *name, struct errtext *err)
{
	char text[IDENTITY_MAX_BYTES];
	struct record kept = {0};
	char *path = NULL;
	int dir = -1, ret;

	if (state_dir[0] == '\0')
		return 0;
	ret = open_folder(state_dir, name, &dir, &path, err);
	if (ret)
		return ret;
	ret = state_file_read(dir, name, text, sizeof(text));
	if (ret)
		ret = errtext_set(err, ret, "cannot read %s: %s", path, strerror(-ret));
	else
		ret = parse(text, path, &kept, err);
	if (!ret) {
		kept.filled = 1;
		ret = keep(dir, path, name, &kept, err);
	}
	free(path);
	(void)close(dir);
	return ret;
}

int identity_take_back(const char *state_dir, const char *name, const char *before)
{
	int dir = state_folder_open(state_dir, "exports"), ret;

	if (dir < 0)
		return dir;
	ret = before[0] ? state_file_write(dir, name, before) : state_file_remove(dir, name);
	(void)close(dir);
	return ret;
}
