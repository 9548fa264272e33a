/*
 * What is known of movers (ss_facts in movers.c), from outside: forgotten for another program, kept when a search begins again, told to
 * other machines, and whether records are renamed.
 */

/* What is relied on is to be noted anew: no decision of before counts. Eras differ, whosever facts they are of. */
static void next_era(ss_facts *of)
{
	static u64 eras;
	of->era = __atomic_add_fetch(&eras, 1, __ATOMIC_SEQ_CST);
}

/*
 * Forget all, for another program or other data. `alone`: a bit for each thread whose steps are never merged.
 * `only_while_alive`: worth it where a thread begins when others have ended; it costs a merge at the end of each thread.
 */
void ss_forget(u32 alone, int only_while_alive)
{
	memset(facts, 0, sizeof *facts);
	memset(facts->held, 0xff, sizeof facts->held);
	facts->never_merged = alone;
	facts->while_alive = only_while_alive;
	facts->renames = by_form = THERE_ARE_EQUAL ? SS_RENAMES : SS_RENAMES & ~EQUAL;
	next_era(facts);
}

/* Begin again with what is known. */
void ss_begin_again(void)
{
	memset(facts->relied, 0, sizeof facts->relied);
	facts->stale = 0;
	next_era(facts);
}

int ss_is_stale(void) { return facts->stale; }
void ss_taken_after(u64 *out) { memcpy(out, facts->taken_after, sizeof facts->taken_after); }
u64 ss_unsure(void) { return facts->unsure; }

/*
 * For a search by several machines: what one finds out counts for all, as if each had made the access itself. So a search that
 * ends with everybody told of everything, and nobody stale, is as good as one on one machine (see engine_cluster.c).
 */
enum { HELDS = THREADS * THREADS * PLACES * WAYS, LOCK_ROWS = 64 };

typedef struct {
	u64 at; /* a place in HELD; HELDS: `unsure`; those behind it: a row of `taken_after` */
	u64 alone, at_all;
} ss_fact;

enum { KNOWN = offsetof(ss_facts, relied) };

int ss_size_of_facts(void) { return KNOWN; }
void ss_all_facts(u8 *out) { memcpy(out, facts, KNOWN); }

/* For a member, before it begins: how its states are known, by what it will know. */
void ss_take_form(const u8 *known) { memcpy(&by_form, known + offsetof(ss_facts, renames), sizeof by_form); }

/* Take into account what others found out. 0: it makes no sense. */
int ss_hear(const ss_fact *fact, u64 count)
{
	for (; count; count--, fact++) {
		if (fact->at > HELDS + LOCK_ROWS)
			return 0;
		if (fact->at > HELDS) {
			facts->taken_after[fact->at - HELDS - 1] |= fact->alone;
		} else if (fact->at == HELDS) {
			if (fact->alone & ~facts->unsure)
				facts->stale = 1;
			facts->unsure |= fact->alone;
		} else {
			ss_held held = { fact->alone, fact->at_all };
			narrow(&facts->held[0][0][0][0] + fact->at, &held, &facts->relied[0][0][0][0] + fact->at);
		}
	}
	return 1;
}

int ss_renames(void) { return facts->renames != 0; }

/* Whether it is to be tried if records are worth renaming; and that it was: if not, the search begins again without (engine_steps.c). */
static int names_untried(void) { return facts->renames & RECORDS && !facts->tried; }

static void names_tried(int worth)
{
	facts->tried = 1;
	if (!worth) {
		facts->renames = by_form &= ~RECORDS;
		facts->stale = 1;
	}
}
