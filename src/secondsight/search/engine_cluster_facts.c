/*
 * Merged steps in a search by several machines: the facts that they rest on, and how the members come to agree about them.
 *
 * Every member has facts of its own (movers.c), all begin with the same. At the end of a turn a member says what it has
 * found out, the caller tells the others, and it counts for them as if they had made the access. A member that relied on
 * something else is *stale*, and with it the search, whoever found out: it is begun again with what all know by then. When the
 * last turn is over and everybody has been told of everything, all must know the same, which `ss_cluster_sum` shows.
 *
 * So a search that ends without anybody stale has made every decision, whoever made it, by facts that hold for the accesses
 * of all. That is what movers.c asks of a search on one machine; and as facts that hold for every access of the program
 * do not depend on the order in which they are found out, both have the same merged steps, states and transitions.
 */

#ifdef SS_MERGED

typedef struct {
	ss_facts *ours, *told; /* told: what the others know too */
	ss_fact *news;
	u64 room;
} ss_shared;

static inline ss_shared *ss_shared_by(struct ss_run *run) { return *ss_shared_of(run); }

/* This process works for this member from now on. */
void ss_at_work(void *shared)
{
	facts = ((const ss_shared *)shared)->ours;
}

void ss_forget_shared(void *of)
{
	ss_shared *shared = of;
	if (shared) {
		free(shared->ours);
		free(shared->told);
		free(shared->news);
	}
	free(shared);
}

/* What is new: how many facts; to `out` if it is there, and then it counts as told. */
static u64 ss_new_facts(const ss_shared *shared, ss_fact *out)
{
	const ss_held *held = &shared->ours->held[0][0][0][0];
	ss_held *told = &shared->told->held[0][0][0][0];
	u64 count = 0;
	for (u64 i = 0; i < HELDS; i++)
		if (held[i].alone != told[i].alone || held[i].at_all != told[i].at_all) {
			if (out)
				out[count] = (ss_fact){ i, held[i].alone, held[i].at_all };
			count++;
		}
	for (u64 i = 0; i <= LOCK_ROWS; i++) {
		u64 is = i ? shared->ours->taken_after[i - 1] : shared->ours->unsure;
		if (is != (i ? shared->told->taken_after[i - 1] : shared->told->unsure)) {
			if (out)
				out[count] = (ss_fact){ HELDS + i, is, 0 };
			count++;
		}
	}
	if (out)
		memcpy(shared->told, shared->ours, KNOWN);
	return count;
}

/* What the caller uses. */

/* Begin with what is known of the program: bytes as `ss_all_facts` gave them. 0: there is not enough memory. */
int ss_cluster_know(struct ss_run *run, const u8 *known)
{
	ss_shared *shared = *ss_shared_of(run) = calloc(1, sizeof *shared);
	if (shared) {
		shared->ours = ss_counted(run, sizeof *shared->ours);
		shared->told = ss_counted(run, sizeof *shared->told);
	}
	if (!shared || !shared->ours || !shared->told)
		return 0;
	memset(shared->ours, 0, sizeof *shared->ours);
	memset(shared->told, 0, sizeof *shared->told);
	memcpy(shared->ours, known, KNOWN);
	shared->ours->stale = shared->ours->news = 0;
	next_era(shared->ours);
	memcpy(shared->told, shared->ours, KNOWN);
	return 1;
}

/* Take in what others found out. 0: it makes no sense. */
int ss_cluster_hear(struct ss_run *run, const ss_fact *fact, u64 count)
{
	const ss_shared *shared = ss_shared_by(run);
	facts = shared->told; /* nobody needs to hear of it from here */
	int makes_sense = ss_hear(fact, count);
	facts = shared->ours;
	return makes_sense && ss_hear(fact, count);
}

/* What was found out here since this was last asked: `*count` facts. 0: there is not enough memory. */
int ss_cluster_news(struct ss_run *run, const ss_fact **out, u64 *count)
{
	ss_shared *shared = ss_shared_by(run);
	*count = 0;
	if (!shared->ours->news)
		return 1;
	u64 wanted = ss_new_facts(shared, NULL);
	if (wanted > shared->room) {
		ss_fact *room = realloc(shared->news, wanted * sizeof *room);
		if (!room) {
			ss_out_of_memory(run);
			return 0;
		}
		shared->news = room;
		shared->room = wanted;
	}
	shared->ours->news = 0;
	*out = shared->news;
	*count = ss_new_facts(shared, shared->news);
	return 1;
}

/* Whether something that was relied on here turned out to be wrong. */
int ss_cluster_is_stale(struct ss_run *run) { return ss_shared_by(run)->ours->stale; }

/* Of all that is known: members that know the same have the same. */
u64 ss_cluster_sum(struct ss_run *run)
{
	const ss_facts *known = ss_shared_by(run)->ours;
	const ss_held *held = &known->held[0][0][0][0];
	u64 sum = ss_mixed(known->unsure);
	for (int i = 0; i < HELDS; i++)
		sum = ss_mixed(ss_mixed(sum ^ held[i].alone) ^ held[i].at_all);
	for (int i = 0; i < LOCK_ROWS; i++)
		sum = ss_mixed(sum ^ known->taken_after[i]);
	return sum;
}

#else

void ss_at_work(void *shared) { (void)shared; }
void ss_forget_shared(void *shared) { (void)shared; }

#endif
