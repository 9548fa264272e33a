/*
 * Our own engine on the processor, as a program without Python, for a machine that has none of ours: `engine_main WORKERS [SECONDS]`.
 * It is compiled with the files that `python -m bench.gpu PROGRAM --emit FOLDER` writes.
 */

#include <stdio.h>

#include "engine.c"
#include "facts.h"

void ss_set_table(int table, const i64 *items, i64 size);

int main(int argc, char **argv)
{
	static ss_run run;
	for (int i = 0; i < TABLE_COUNT; i++)
		ss_set_table(i, TABLE_ITEMS + TABLE_FROM[i], TABLE_FROM[i + 1] - TABLE_FROM[i]);
	ss_set_daemons(DAEMONS);
	run.initial = INITIAL;
	run.workers = argc > 1 ? atoi(argv[1]) : 1;
	run.max_seconds = argc > 2 ? atof(argv[2]) : 0;
	run.max_memory = 100ull << 30;
	run.deadlock = 1;
	run.files[0] = run.files[1] = -1;
	ss_search(&run);
	printf("engine, %d workers: %s%llu states, %llu transitions, depth %llu; %.3f ms: %.2f million states a second\n", run.workers,
	       run.reason ? "not finished: " : run.found_count ? "broken: " : "", (unsigned long long)run.states,
	       (unsigned long long)run.transitions, (unsigned long long)run.depth, run.seconds * 1e3, run.states / run.seconds / 1e6);
	for (int i = 0; i < run.found_count; i++)
		printf("found: how %d, kind %d, after %u steps\n", run.found[i].how, run.found[i].kind,
		       run.found[i].trace_length + (run.found[i].how == A_STEP_FAILED));
	return run.reason != 0;
}
