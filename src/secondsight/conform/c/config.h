/*
 * What of the packaged configuration does not fit here; included after it.
 *
 * With the hack for jump labels every branch is a jump that a tool of the kernel's build turns into nothing afterwards: no
 * such tool runs here, and branches that are off would be taken.
 */
#undef CONFIG_HAVE_JUMP_LABEL_HACK
