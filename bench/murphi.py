"""The mirror protocol in Murphi, for Rumur: the steps of bench/mirror.py, one for one.

A frame is a value of a scalarset, so Rumur's symmetry reduction may exchange them; none is `undefined`. Each thread's program
counter is written out, a rule is one step.
"""

from __future__ import annotations

from bench.sizes import Size

__all__ = ["murphi"]

_CPU = """
ruleset c: cp do alias f: cpu[c] do
 ruleset v: vp do
  rule "pick" f.pc = 0 & f.k > 0 ==> begin f.k := f.k - 1; f.v := v; f.pc := 1; end;
 end;
 rule "write lock" f.pc = 1 & !mmap_w & mmap_r = 0 ==> begin mmap_w := true; f.pc := 2; end;
 rule "begin" f.pc = 2 & !isundefined(cpu_pte[f.v]) ==> begin seq := seq + 1; inval := f.v + 1; f.i := 0; f.pc := 3; end;
 ruleset p: page do
  rule "map" f.pc = 2 & isundefined(cpu_pte[f.v]) & !used[p] ==> begin cpu_pte[f.v] := p; used[p] := true; f.pc := 9; end;
 end;
 rule "lock device" f.pc = 3 & !dlock[f.i] ==> begin dlock[f.i] := true; f.pc := 4; end;
 rule "drop" f.pc = 4 ==> begin undefine dev_pte[f.i][f.v]; f.pc := 5; end;
 rule "unlock device" f.pc = 5 ==> begin
  dlock[f.i] := false;
  if f.i < LAST_DEVICE then f.i := f.i + 1; f.pc := 3; else f.i := 0; f.pc := 6; end;
 end;
 rule "clear" f.pc = 6 ==> begin f.pg := cpu_pte[f.v]; undefine cpu_pte[f.v]; f.pc := 7; end;
 rule "free" f.pc = 7 ==> begin used[f.pg] := false; undefine f.pg; f.pc := 8; end;
 rule "end" f.pc = 8 ==> begin seq := seq + 1; inval := 0; f.pc := 9; end;
 rule "write unlock" f.pc = 9 ==> begin mmap_w := false; f.v := 0; f.pc := 0; end;
end; end;
"""

_DEVICE = """
ruleset d: dv do alias f: dev[d] do
 ruleset v: vp do
  rule "pick" f.pc = 0 & f.l > 0 ==> begin f.l := f.l - 1; f.v := v; f.pc := 1; end;
 end;
 rule "read begin" f.pc = 1 & seq % 2 = 0 ==> begin f.s := seq; f.pc := 2; end;
 rule "read lock" f.pc = 2 & !mmap_w ==> begin mmap_r := mmap_r + 1; f.pc := 3; end;
 rule "look" f.pc = 3 & !isundefined(cpu_pte[f.v]) ==> begin f.pg := cpu_pte[f.v]; f.pc := 4; end;
 ruleset p: page do
  rule "fault" f.pc = 3 & isundefined(cpu_pte[f.v]) & !used[p] ==> begin
   cpu_pte[f.v] := p; used[p] := true; f.pg := p; f.pc := 4;
  end;
 end;
 rule "read unlock" f.pc = 4 ==> begin mmap_r := mmap_r - 1; f.pc := 5; end;
 rule "lock device" f.pc = 5 & !dlock[d] ==> begin dlock[d] := true; f.pc := 6; end;
 rule "test" f.pc = 6 ==> begin TEST end;
 rule "install" f.pc = 7 ==> begin dev_pte[d][f.v] := f.pg; undefine f.pg; f.pc := 8; end;
 rule "unlock" f.pc = 8 ==> begin dlock[d] := false; f.pc := 10; end;
 rule "unlock, retry" f.pc = 9 ==> begin dlock[d] := false; f.pc := 1; end;
 rule "use" f.pc = 10 ==> begin
  assert (isundefined(dev_pte[d][f.v]) | (used[dev_pte[d][f.v]]
   & ((!isundefined(cpu_pte[f.v]) & cpu_pte[f.v] = dev_pte[d][f.v]) | inval = f.v + 1)));
  f.v := 0; f.pc := 0;
 end;
end; end;
"""

_TEST = "if seq != f.s then f.s := 0; undefine f.pg; f.pc := 9; else f.s := 0; f.pc := 7; end;"
_NO_TEST = "f.s := 0; f.pc := 7;"


def murphi(size: Size, retry_test: bool = True) -> str:
    """The model's text; without `retry_test` the mutant."""
    head = f"""type page: scalarset({size.frames}); vp: 0..{size.pages - 1}; dv: 0..{size.devices - 1}; cp: 0..{size.cpus - 1};
 seqt: 0..{2 * size.cpus * size.operations};
var cpu_pte: array[vp] of page; dev_pte: array[dv] of array[vp] of page; used: array[page] of boolean;
 seq: seqt; mmap_w: boolean; mmap_r: 0..{size.devices}; inval: 0..{size.pages}; dlock: array[dv] of boolean;
 cpu: array[cp] of record pc: 0..9; k: 0..{size.operations}; v: vp; i: dv; pg: page; end;
 dev: array[dv] of record pc: 0..10; l: 0..{size.device_operations}; v: vp; s: seqt; pg: page; end;
startstate begin
 for v: vp do undefine cpu_pte[v]; end;
 for d: dv do
  dlock[d] := false;
  for v: vp do undefine dev_pte[d][v]; end;
  dev[d].pc := 0; dev[d].l := {size.device_operations}; dev[d].v := 0; dev[d].s := 0; undefine dev[d].pg;
 end;
 for p: page do used[p] := false; end;
 seq := 0; mmap_w := false; mmap_r := 0; inval := 0;
 for c: cp do cpu[c].pc := 0; cpu[c].k := {size.operations}; cpu[c].v := 0; cpu[c].i := 0; undefine cpu[c].pg; end;
end;
"""
    device = _DEVICE.replace("TEST", _TEST if retry_test else _NO_TEST)
    return head + _CPU.replace("LAST_DEVICE", str(size.devices - 1)) + device
