/*
 * The agent's machine when it is the running one: the agent is a plain process, which touches its own memory and
 * nothing else. What the guest's half does to its machine (mounts, modules, the kernel's log, crash, reboot) is not
 * in the program.
 *
 *   agent PORT      PORT: a descriptor, one end of a socket pair
 */
#define _GNU_SOURCE
#include "agent.h"

#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

enum { NOBODY = 65534 };

int begin_machine(int count, char **words)
{
	int port = count == 2 ? atoi(words[1]) : -1;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_CHILD_SUBREAPER, 1); /* as the guest's agent is, for the processes of a run */
	setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
	/* One processor, as in a guest: the pauses vary the order of operations, and memory is as strong as the model's. */
	cpu_set_t one;
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	if (sched_setaffinity(0, sizeof one, &one))
		puts("secondsight: not on one processor");
	if (port < 0 || fcntl(port, F_SETFD, FD_CLOEXEC))
		end_machine();
	return port;
}

/* Started by root, the agent goes on as nobody. It may not win rights again. */
void drop_rights(void)
{
	if (!geteuid() && (setgroups(0, NULL) || setresgid(NOBODY, NOBODY, NOBODY) || setresuid(NOBODY, NOBODY, NOBODY))) {
		puts("secondsight: this process cannot give up root's rights");
		end_machine();
	}
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		end_machine();
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* which the change of user has cleared */
	prctl(PR_SET_DUMPABLE, 1); /* the same: without it what is in /proc/self is root's, and clear_refs cannot be written */
}

void note_scenario(const char *name) { (void)name; }

void end_machine(void) { exit(1); }

int machine_command(const char *line)
{
	(void)line;
	return 0;
}
