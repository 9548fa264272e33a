/* The course of a search, level by level, and what the command line says it must come to (bfs.cu). */

typedef struct {
	i64 states, transitions, depth, broken; /* that must come out; -1: nothing is said. `broken`: steps to a broken rule */
	u64 slots, room, seed, stack;
	int runs, levels; /* whether each level is printed */
} ss_asked;

typedef struct {
	u64 states, transitions, depth, widest, ended, stuck, failed;
	i64 broken; /* steps to a broken rule, or -1 */
	float ms, clear_ms;
} ss_came;

static void ss_refuse(const char *what, const char *why, const char *remedy)
{
	fprintf(stderr, "%s: %s; %s\n", what, why, remedy);
	exit(2);
}

static void ss_checked(cudaError_t error, const char *what)
{
	if (error == cudaErrorMemoryAllocation)
		ss_refuse(what, cudaGetErrorString(error), "give less room with --slots and --frontier, or a smaller stack with --stack");
	if (error != cudaSuccess)
		ss_refuse(what, cudaGetErrorString(error), "a stack that was too small says so, too: --stack gives more");
}

/* As the engine's keys; another seed makes others. */
static u64 ss_key(u64 n)
{
	n += 0x9e3779b97f4a7c15ull;
	n = (n ^ n >> 30) * 0xbf58476d1ce4e5b9ull;
	n = (n ^ n >> 27) * 0x94d049bb133111ebull;
	return (n ^ n >> 31) | 1;
}

static u64 ss_number(int argc, char **argv, int at)
{
	char *end = NULL;
	u64 value = at < argc ? strtoull(argv[at], &end, 10) : 0;
	if (at >= argc || !*argv[at] || *end)
		ss_refuse(argv[at - 1], at < argc ? argv[at] : "nothing", "a number is wanted here");
	return value;
}

static ss_asked ss_arguments(int argc, char **argv)
{
	ss_asked asked = { -1, -1, -1, -1, 0, 0, 0, 8192, 1, 0 };
	for (int i = 1; i < argc; i++) {
		const char *name = argv[i];
		if (!strcmp(name, "--levels"))
			asked.levels = 1;
		else if (!strcmp(name, "--states"))
			asked.states = ss_number(argc, argv, ++i);
		else if (!strcmp(name, "--transitions"))
			asked.transitions = ss_number(argc, argv, ++i);
		else if (!strcmp(name, "--depth"))
			asked.depth = ss_number(argc, argv, ++i);
		else if (!strcmp(name, "--broken"))
			asked.broken = ss_number(argc, argv, ++i);
		else if (!strcmp(name, "--slots"))
			asked.slots = ss_number(argc, argv, ++i);
		else if (!strcmp(name, "--frontier"))
			asked.room = ss_number(argc, argv, ++i);
		else if (!strcmp(name, "--seed"))
			asked.seed = ss_number(argc, argv, ++i);
		else if (!strcmp(name, "--stack"))
			asked.stack = ss_number(argc, argv, ++i);
		else if (!strcmp(name, "--runs"))
			asked.runs = (int)ss_number(argc, argv, ++i);
		else
			ss_refuse(name, "no such option",
				"there are --states, --transitions, --depth, --broken, --slots, --frontier, --seed, --stack, --runs, --levels");
	}
	return asked;
}

/* Tell what failed in a level. Returns whether a rule was broken. */
static int ss_tell(const ss_left *left, u64 steps)
{
	int broken = 0;
	for (int i = 0; i < RULE_COUNT; i++)
		if (left->broken[i]) {
			printf("broken: %s, after %llu steps, in %llu states of this level\n", RULES[i], (u64_atomic)steps, (u64_atomic)left->broken[i]);
			broken = 1;
		}
	for (int i = 0; i < KINDS; i++)
		if (left->failed[i]) {
			printf("%s: kind %d, after %llu steps, at %s\n", i == NONE ? "broken" : "error of the model", i, (u64_atomic)steps,
			       left->site >= 0 && left->site < SITE_COUNT ? SITES[left->site] : "its end");
			broken |= i == NONE;
		}
	if (left->stuck) {
		printf("broken: deadlock, after %llu steps, in %llu states of this level\n", (u64_atomic)steps - 1, (u64_atomic)left->stuck);
		broken = 1;
	}
	return broken;
}

/* Add what a level of `states` left behind. Returns whether it was the last. */
static int ss_count(const ss_asked *asked, ss_came *came, const ss_left *left, u64 states)
{
	if (left->full & LEVEL_FULL)
		ss_refuse("the next level", "it has more states than there is room for", "--frontier says for how many, and what is left by --slots");
	came->transitions += left->transitions;
	came->ended += left->ended;
	came->stuck += left->stuck;
	for (int i = 0; i < KINDS; i++)
		came->failed += i == NONE ? 0 : left->failed[i];
	if (asked->levels)
		printf("level %llu: %llu states, %llu steps\n", (u64_atomic)came->depth, (u64_atomic)states, (u64_atomic)left->transitions);
	if (ss_tell(left, came->depth + 1))
		came->broken = came->depth + !left->stuck;
	came->states += left->next;
	if (!left->next || left->wrong)
		return 1;
	came->depth++;
	if (left->next > came->widest)
		came->widest = left->next;
	return 0;
}

/* All blocks of a launch that goes through several levels have to be there at once, as they wait for each other. */
static void ss_launch(ss_given given, int grid)
{
#if LEVELS_AT_ONCE > 1
	void *arguments[] = { &given };
	ss_checked(cudaLaunchCooperativeKernel((const void *)ss_expand_levels, dim3(grid), dim3(BLOCK), arguments, SHARED_BYTES, 0), "a level");
#else
	u64 tiles = (given.count + 31) / 32;
	LAUNCH(ss_expand_levels, tiles < (u64)grid ? (int)tiles : grid, BLOCK, SHARED_BYTES, given);
	ss_checked(cudaGetLastError(), "a level");
#endif
}

static ss_came ss_search(const ss_asked *asked, ss_given given, const i64 *items, int grid)
{
	ss_came came = { 1, 0, 0, 1, 0, 0, 0, -1, 0, 0 };
	cudaEvent_t begun, cleared, over;
	ss_checked(cudaEventCreate(&begun), "an event");
	ss_checked(cudaEventCreate(&cleared), "an event");
	ss_checked(cudaEventCreate(&over), "an event");
	u64 first[WORDS];
	memset(first, 0, sizeof first);
	memcpy(first, INITIAL, STATE_SIZE);
	for (int i = 0; i < WORDS + 2; i++)
		given.keys[i] = ss_key(asked->seed + i);
	for (int i = 0; i < WORDS; i++)
		ss_checked(cudaMemcpy(given.levels[1] + i, &first[i], 8, cudaMemcpyHostToDevice), "the first state");
	ss_checked(cudaEventRecord(begun), "an event");
	ss_checked(cudaMemset(given.table, 0, given.slots * 8), "the table");
	ss_checked(cudaEventRecord(cleared), "an event");
	ss_checked(cudaMemset(given.left, 0, sizeof *given.left), "a level");
	LAUNCH(ss_first, 1, 1, 0, given, items);
	ss_checked(cudaGetLastError(), "the first state");
	given.count = 1;
	given.turn = 0;
	for (int over_now = 0; !over_now;) {
		static ss_left left[LEVELS_AT_ONCE];
		ss_checked(cudaMemset(given.left, 0, sizeof left), "a level");
		ss_launch(given, grid);
		ss_checked(cudaMemcpy(left, given.left, sizeof left, cudaMemcpyDeviceToHost), "a level");
		for (int i = 0; i < LEVELS_AT_ONCE && !over_now; i++) {
			over_now = ss_count(asked, &came, &left[i], given.count) || came.broken >= 0 || came.failed;
			given.count = left[i].next;
			given.turn = !given.turn;
			if (left[i].full & TABLE_FULL || came.states > given.slots / 8 * 7)
				ss_refuse("the table of fingerprints", "it is full", "give it more with --slots");
		}
	}
	ss_checked(cudaEventRecord(over), "an event");
	ss_checked(cudaEventSynchronize(over), "an event");
	ss_checked(cudaEventElapsedTime(&came.ms, begun, over), "an event");
	ss_checked(cudaEventElapsedTime(&came.clear_ms, begun, cleared), "an event");
	return came;
}

static int ss_differs(const char *what, i64 wanted, i64 came)
{
	if (wanted < 0 || wanted == came)
		return 0;
	fprintf(stderr, "%s: %lld, but there must be %lld\n", what, (long long)came, (long long)wanted);
	return 1;
}

int main(int argc, char **argv)
{
	ss_asked asked = ss_arguments(argc, argv);
	struct cudaDeviceProp card;
	ss_given given;
	i64 *items;
	size_t left, all;
	int at_once = 0;
	memset(&given, 0, sizeof given);
	ss_checked(cudaGetDeviceProperties(&card, 0), "the card");
	ss_checked(cudaDeviceSetLimit(cudaLimitStackSize, asked.stack), "the stack");
	if (SHARED_BYTES > card.sharedMemPerBlockOptin)
		ss_refuse("shared memory", "the card has less for a block than its tile takes", "compile with a smaller one: -DTILE=128, or 64");
	ss_checked(cudaFuncSetAttribute(ss_expand_levels, cudaFuncAttributeMaxDynamicSharedMemorySize, SHARED_BYTES), "shared memory");
	ss_checked(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&at_once, ss_expand_levels, BLOCK, SHARED_BYTES), "the search");
	if (!at_once)
		ss_refuse("the search", "a block of it has no room on the card", "compile with a smaller one: -DBLOCK=128, -DTILE=128");
	ss_checked(cudaMemGetInfo(&left, &all), "the card's memory");
	left = left / 10 * 9; /* the rest is for the stacks */
	given.slots = asked.slots ? asked.slots : left / 2 / 8;
	if (given.slots * 8 > left)
		ss_refuse("the table of fingerprints", "the card has not so much memory", "--slots says how many");
	given.room = asked.room ? asked.room : (left - given.slots * 8) / 2 / (WORDS * 8);
	ss_checked(cudaMalloc(&given.table, given.slots * 8), "the table of fingerprints");
	ss_checked(cudaMalloc(&given.levels[0], given.room * WORDS * 8), "a level");
	ss_checked(cudaMalloc(&given.levels[1], given.room * WORDS * 8), "a level");
	ss_checked(cudaMalloc(&given.left, LEVELS_AT_ONCE * sizeof *given.left), "a level");
	ss_checked(cudaMalloc(&items, sizeof TABLE_ITEMS), "the tables");
	ss_checked(cudaMemcpy(items, TABLE_ITEMS, sizeof TABLE_ITEMS, cudaMemcpyHostToDevice), "the tables");
	printf("%s: %d multiprocessors, %d blocks of %d threads each, tiles of %d states, %d bytes of shared memory a block; a state has %d bytes; room for %llu fingerprints, %llu states a level\n",
	       card.name, card.multiProcessorCount, at_once, BLOCK, TILE, SHARED_BYTES, STATE_SIZE, (u64_atomic)given.slots, (u64_atomic)given.room);
	int wrong = 0;
	for (int i = 0; i < asked.runs; i++) {
		ss_came came = ss_search(&asked, given, items, at_once * card.multiProcessorCount);
		printf("%s: %llu states, %llu transitions, depth %llu, widest level %llu, %llu ended; %.3f ms, %.3f of it to clear the table: %.1f million states a second\n",
		       came.failed ? "not finished: error" : came.broken >= 0 ? "broken" : "all states seen, nothing found", (u64_atomic)came.states,
		       (u64_atomic)came.transitions, (u64_atomic)came.depth, (u64_atomic)came.widest, (u64_atomic)came.ended, came.ms, came.clear_ms,
		       came.states / came.ms / 1e3);
		wrong |= ss_differs("states", asked.states, came.states) | ss_differs("transitions", asked.transitions, came.transitions)
		       | ss_differs("depth", asked.depth, came.depth) | ss_differs("steps to what is broken", asked.broken, came.broken);
		wrong |= asked.broken < 0 && (came.broken >= 0 || came.failed);
	}
	return wrong;
}
