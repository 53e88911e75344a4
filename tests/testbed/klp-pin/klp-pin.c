// SPDX-License-Identifier: GPL-2.0-only
/*
 * A livepatch for the testbed: lets the holder of a write lease pin fsdax memory for long (as ibv_reg_mr does), which
 * no mainline kernel allows. A pin is let through if every mapping under it is fsdax and maps the very open file that
 * holds an F_WRLCK lease with no break pending. Open file, not process: a lease belongs to the open file description
 * and goes with it through fork and SCM_RIGHTS, so the new owner of the descriptor may pin as the old one could.
 *
 * It replaces pin_user_pages_fast(), the way in for verbs. The check is not atomic with the pin: a lease that breaks
 * between the two finds the memory pinned, which is what a recall has to cope with in any case.
 */
#include <linux/filelock.h>
#include <linux/fs.h>
#include <linux/kernel.h>
#include <linux/livepatch.h>
#include <linux/mm.h>
#include <linux/module.h>

/* Does this open file hold a write lease that nobody is breaking? */
static bool holds_write_lease(struct file *file)
{
	struct file_lock_context *ctx = locks_inode_context(file_inode(file));
	struct file_lease *lease;
	bool held = false;

	if (!ctx)
		return false;
	spin_lock(&ctx->flc_lock);
	list_for_each_entry(lease, &ctx->flc_lease, c.flc_list) {
		if (lease->c.flc_file != file || !(lease->c.flc_flags & FL_LEASE) || lease->c.flc_type != F_WRLCK)
			continue;
		held = !(lease->c.flc_flags & (FL_UNLOCK_PENDING | FL_DOWNGRADE_PENDING));
		break;
	}
	spin_unlock(&ctx->flc_lock);
	return held;
}

/* Is all of [start, start + nr_pages) mapped from fsdax files under such leases? */
static bool leased_fsdax(unsigned long start, int nr_pages)
{
	unsigned long end = start + (unsigned long)nr_pages * PAGE_SIZE;
	struct mm_struct *mm = current->mm;
	struct vm_area_struct *vma;
	bool leased = true;

	if (!mm || mmap_read_lock_killable(mm))
		return false;
	while (leased && start < end) {
		vma = vma_lookup(mm, start);
		leased = vma && vma_is_fsdax(vma) && holds_write_lease(vma->vm_file);
		if (leased)
			start = vma->vm_end;
	}
	mmap_read_unlock(mm);
	return leased;
}

static int klp_pin_user_pages_fast(unsigned long start, int nr_pages, unsigned int gup_flags, struct page **pages)
{
	if ((gup_flags & FOLL_LONGTERM) && nr_pages > 0 && leased_fsdax(start, nr_pages)) {
		pr_info_once("a leased fsdax file is pinned, by %s\n", current->comm);
		gup_flags &= ~FOLL_LONGTERM;
	}
	return pin_user_pages_unlocked(start, nr_pages, pages, gup_flags);
}

static struct klp_func funcs[] = {
	{ .old_name = "pin_user_pages_fast", .new_func = klp_pin_user_pages_fast },
	{ }
};

static struct klp_object objects[] = {
	{ .funcs = funcs },
	{ }
};

static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objects };

static int __init klp_pin_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit klp_pin_exit(void)
{
}

module_init(klp_pin_init);
module_exit(klp_pin_exit);
MODULE_DESCRIPTION("Leasehold testbed: long-term pins of fsdax for lease holders");
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
