/*
 * What is known of two threads holds for each two that a renaming makes of them: of one class, or of two. So it is kept for the first of a
 * class, or the first two. What it says of an element that is the one's, the other's, or a third's, counts for what is so in the first.
 *
 * Two accesses that a renaming makes of each other must have one fact: the one that was made tells of the other, which no state that was
 * looked at need have. (If others had the same one, too, fewer steps would be merged.)
 */
static u8 pair_of[THREADS][THREADS][2];
static u16 stands[THREADS][THREADS][PLACES];
#define STANDS(t, u, place) stands[t][u][place]
#define PAIR(t, u) [pair_of[t][u][0]][pair_of[t][u][1]]

static int first_in_class(int of, int but, int nor)
{
	for (int t = 0; t < THREADS; t++)
		if (class_of[t] == of && t != but && t != nor)
			return t;
	return -1;
}

static void equal_in_facts(void)
{
	for (int t = 0; t < THREADS; t++)
		for (int u = 0; u < THREADS; u++) {
			int one = first_in_class(class_of[t], -1, -1), other = u == t ? one : first_in_class(class_of[u], one, -1), to[THREADS];
			pair_of[t][u][0] = (u8)one;
			pair_of[t][u][1] = (u8)other;
			for (int k = 0; k < THREADS; k++)
				to[k] = k == t ? one : k == u ? other : first_in_class(class_of[k], one, other);
			for (int p = 0; p < PLACES; p++) {
				int array = PLACE_ARRAY[p], element = PLACE_ELEMENT[p];
				stands[t][u][p] = (u16)p;
				if (!array)
					continue;
				if (NOTED_ARRAY[array - 1].rows) {
					for (int k = 0; k < THREADS; k++)
						if (element >= row_first[k] && element < row_end[k]) {
							element += row_first[to[k]] - row_first[k];
							break;
						}
				} else if (element > 0 && element <= THREADS) {
					element = to[element - 1] + 1;
				}
				stands[t][u][p] = ELEMENT_PLACE[NOTED_ARRAY[array - 1].first + (u32)element * NOTED_ARRAY[array - 1].subs + PLACE_SUB[p]];
			}
		}
}
