/*
 * What the two halves of a conformer share. One half is compiled with the kernel's headers: the kernel's own file, stubs
 * for what it calls, and a look at its state. The other (runtime.c) is compiled with the C library's: threads as coroutines,
 * memory that can be put back, and the line to the model.
 */
#ifndef SS_CONFORM_H
#define SS_CONFORM_H

#define SS_THREADS 6
#define SS_FROM __builtin_return_address(0)

/* Stop the running thread at a place: its kind, and the function of the kernel's that it is in (an address there).
 * `ready` says whether the thread can go on, given `what`; 0: always. Returns what the model gave the thread to go on with. */
long ss_stop(const char *kind, const void *from, int (*ready)(void *), void *what);

/* The running thread, 0 and up; -1 while the world is made. */
int ss_self(void);

/* Memory that is part of the state, zeroed and aligned to 64 bytes; never given back. */
void *ss_alloc(unsigned long size);

/* Write to the look at the state: a name, a number, a text. */
void ss_text(const char *text);
void ss_number(long number);

/* A warning of the kernel's: WARN_ON and its like. */
void ss_warned(void);

/* End the process: the kernel's file did what no stub stands for. */
void ss_die(const char *what, const void *from) __attribute__((noreturn));

/* A symbol of the kernel's that no way leads to: calling it ends the process. A file's own definition takes its place. */
#define SS_NEVER(name) \
	asm(".pushsection .text\n.weak " #name "\n" #name ":\n\tlea 1f(%rip), %rdi\n\tmov (%rsp), %rsi\n\tcall ss_die\n1:\t.asciz \"" #name \
	    " is called, which no stub stands for\"\n.popsection")

/* The same of a variable: it lies where nothing can be read. */
#define SS_NEVER_DATA(name) asm(".weak " #name "\n.set " #name ", 0")

/* What a file's conformer (and the stubs) give to the runtime. */
void ss_setup(const long *arguments);                       /* make the world; `arguments` are the configuration's */
long ss_operate(int operation, const long *arguments);      /* one operation of the running thread; its result */
void ss_look(void);                                         /* the state, in the form that the model's look has */
void ss_poke(int what, const long *arguments);              /* set what other files than this one own */
int ss_is_warning(unsigned long address, int *length);      /* whether a trap is a WARN_ON, and how long it is; -1: BUG_ON */
void ss_stubs_reset(void);                                  /* called before ss_setup */
void ss_switch(int thread);                                 /* called when another thread runs */

#endif
