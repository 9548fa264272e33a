"""The mirror protocol in C, for LTSmin's interface to models (PINS): the steps of bench/mirror.py, one for one.

A state is a record of numbers, a thread is a group of transitions; `step_cpu` and `step_device` say where a state's thread can go
next. A frame is its number from 1, 0 is none; `used` is a set of bits. `broken` is set by a use that breaks a rule, so it is 0 in
all states of the right protocol, and LTSmin's invariant `broken == 0` is what is searched for.
"""

from __future__ import annotations

from bench.sizes import Size

__all__ = ["INVARIANT", "pins"]

INVARIANT = "broken == 0"

_STATE = """
struct cpu { int pc, k, v, i, page; };
struct device { int pc, l, v, s, page; };
struct state {
    int cpu_pte[PAGES], dev_pte[DEVICES][PAGES], used, seq, mmap_w, mmap_r, inval, dlock[DEVICES];
    struct cpu cpu[CPUS];
    struct device device[DEVICES];
    int broken;
};

#define LENGTH ((int)(sizeof(struct state) / sizeof(int)))

struct sink { TransitionCB call; void *context; transition_info_t info; int made; };

static void found(struct sink *to, struct state *next)
{
    to->call(to->context, &to->info, (int *)next, NULL);
    to->made++;
}
"""

_CPU = """
static void step_cpu(const struct state *now, int me, struct sink *to)
{
    const struct cpu *t = &now->cpu[me];
    struct state next = *now;
    struct cpu *u = &next.cpu[me];
    int v = t->v;

    switch (t->pc) {
    case 0: /* pick */
        if (!t->k) return;
        u->k--; u->pc = 1;
        for (u->v = 0; u->v < PAGES; u->v++) found(to, &next);
        return;
    case 1: /* write lock */
        if (now->mmap_w || now->mmap_r) return;
        next.mmap_w = 1; u->pc = 2;
        break;
    case 2: /* begin, or map */
        if (now->cpu_pte[v]) {
            next.seq++; next.inval = v + 1; u->i = 0; u->pc = 3;
            break;
        }
        u->pc = 9;
        for (int f = 0; f < FRAMES; f++) {
            if (now->used >> f & 1) continue;
            next.cpu_pte[v] = f + 1; next.used = now->used | 1 << f;
            found(to, &next);
        }
        return;
    case 3: /* lock device */
        if (now->dlock[t->i]) return;
        next.dlock[t->i] = 1; u->pc = 4;
        break;
    case 4: /* drop */
        next.dev_pte[t->i][v] = 0; u->pc = 5;
        break;
    case 5: /* unlock device */
        next.dlock[t->i] = 0;
        if (t->i < DEVICES - 1) { u->i++; u->pc = 3; } else { u->i = 0; u->pc = 6; }
        break;
    case 6: /* clear */
        u->page = now->cpu_pte[v]; next.cpu_pte[v] = 0; u->pc = 7;
        break;
    case 7: /* free */
        next.used &= ~(1 << (t->page - 1)); u->page = 0; u->pc = 8;
        break;
    case 8: /* end */
        next.seq++; next.inval = 0; u->pc = 9;
        break;
    case 9: /* write unlock */
        next.mmap_w = 0; u->v = 0; u->pc = 0;
        break;
    }
    found(to, &next);
}
"""

_DEVICE = """
static void step_device(const struct state *now, int me, struct sink *to)
{
    const struct device *t = &now->device[me];
    struct state next = *now;
    struct device *u = &next.device[me];
    int v = t->v, e = now->dev_pte[me][v];

    switch (t->pc) {
    case 0: /* pick */
        if (!t->l) return;
        u->l--; u->pc = 1;
        for (u->v = 0; u->v < PAGES; u->v++) found(to, &next);
        return;
    case 1: /* read begin */
        if (now->seq & 1) return;
        u->s = now->seq; u->pc = 2;
        break;
    case 2: /* read lock */
        if (now->mmap_w) return;
        next.mmap_r++; u->pc = 3;
        break;
    case 3: /* look, or fault */
        u->pc = 4;
        if (now->cpu_pte[v]) {
            u->page = now->cpu_pte[v];
            break;
        }
        for (int f = 0; f < FRAMES; f++) {
            if (now->used >> f & 1) continue;
            u->page = next.cpu_pte[v] = f + 1; next.used = now->used | 1 << f;
            found(to, &next);
        }
        return;
    case 4: /* read unlock */
        next.mmap_r--; u->pc = 5;
        break;
    case 5: /* lock device */
        if (now->dlock[me]) return;
        next.dlock[me] = 1; u->pc = 6;
        break;
    case 6: /* test */
        if (TEST) { u->page = 0; u->pc = 9; } else u->pc = 7;
        u->s = 0;
        break;
    case 7: /* install */
        next.dev_pte[me][v] = t->page; u->page = 0; u->pc = 8;
        break;
    case 8: /* unlock */
        next.dlock[me] = 0; u->pc = 10;
        break;
    case 9: /* unlock, retry */
        next.dlock[me] = 0; u->pc = 1;
        break;
    case 10: /* use */
        if (e && !((now->used >> (e - 1) & 1) && (now->cpu_pte[v] == e || now->inval == v + 1))) next.broken = 1;
        u->v = 0; u->pc = 0;
        break;
    }
    found(to, &next);
}
"""

_MODEL = """
static int group(model_t model, int group, int *from, TransitionCB call, void *context)
{
    struct sink to = { call, context, { NULL, group, 0 }, 0 };
    (void)model;
    if (group < CPUS) step_cpu((struct state *)from, group, &to);
    else step_device((struct state *)from, group - CPUS, &to);
    return to.made;
}

static int every_group(model_t model, int *from, TransitionCB call, void *context)
{
    int made = 0;
    for (int i = 0; i < CPUS + DEVICES; i++) made += group(model, i, from, call, context);
    return made;
}

char pins_plugin_name[] = "mirror";

void pins_model_init(model_t model)
{
    static struct state first;
    static matrix_t all;
    lts_type_t type = lts_type_create();
    char name[16];

    lts_type_set_state_length(type, LENGTH);
    lts_type_put_type(type, "number", LTStypeDirect, NULL);
    for (int i = 0; i < LENGTH; i++) {
        snprintf(name, sizeof name, "at%d", i);
        lts_type_set_state_name(type, i, i == LENGTH - 1 ? "broken" : name);
        lts_type_set_state_type(type, i, "number");
    }
    lts_type_validate(type);
    GBsetLTStype(model, type);

    dm_create(&all, CPUS + DEVICES, LENGTH);
    for (int i = 0; i < CPUS + DEVICES; i++)
        for (int j = 0; j < LENGTH; j++) dm_set(&all, i, j);
    GBsetDMInfo(model, &all);

    for (int i = 0; i < CPUS; i++) first.cpu[i].k = OPERATIONS;
    for (int i = 0; i < DEVICES; i++) first.device[i].l = DEVICE_OPERATIONS;
    GBsetInitialState(model, (int *)&first);
    GBsetNextStateLong(model, group);
    GBsetNextStateAll(model, every_group);
}
"""


def pins(size: Size, retry_test: bool = True) -> str:
    """The model's text, to be compiled as a shared library; without `retry_test` the mutant."""
    numbers = {
        "PAGES": size.pages, "DEVICES": size.devices, "CPUS": size.cpus, "FRAMES": size.frames,
        "OPERATIONS": size.operations, "DEVICE_OPERATIONS": size.device_operations,
    }  # fmt: skip
    head = "#include <stdio.h>\n\n#include <ltsmin/pins.h>\n\n" + "".join(f"#define {n} {v}\n" for n, v in numbers.items())
    device = _DEVICE.replace("TEST", "now->seq != t->s" if retry_test else "0")
    return head + _STATE + _CPU + device + _MODEL
