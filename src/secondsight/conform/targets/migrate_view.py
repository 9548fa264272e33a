"""What mm/migrate.c and its model have of a state beyond what mm/rmap.c has."""

from __future__ import annotations

from collections.abc import Sequence

from secondsight.conform.eyes import Eyes
from secondsight.conform.place import Crossing
from secondsight.conform.targets.migrate_world import MovableFile
from secondsight.conform.targets.rmap_view import Values, View
from secondsight.lang.program import Program
from secondsight.linux.mm_types import Folio
from secondsight.linux.swapops import migrations, swap_slots

__all__ = ["MigrateView"]


class MigrateView(View):
    """Folios off their lists, written, and with contents; what is in the caches."""

    def __init__(self, program: Program, file: MovableFile, folios: Sequence[Folio], threads: int, boundaries: Sequence[Crossing], kernel_file: str, exclusive_counts: bool) -> None:
        super().__init__(program, file, folios, threads, boundaries, kernel_file, exclusive_counts)
        eyes = Eyes(program)
        for reads, folio in zip(self.folios, folios, strict=True):
            reads |= {name: eyes.field(folio, name) for name in ("isolated", "writeback", "contents")}
        self.cached = [eyes.field(file, "page"), *(eyes.field(slot, "cache") for slot in swap_slots)]
        self.taken = [eyes.field(migration, "dst") for migration in migrations]

    def more(self, folio: Values) -> str:
        held = folio["refcount"] > 0
        return "i" * bool(held and folio["isolated"]) + "w" * bool(folio["writeback"]) + (f"={folio['contents']}" if held and folio["contents"] else "")

    def shared(self, folio: Values, mapped: int) -> int:
        """What nothing maps is nobody's alone: the bit is in the entries that stand for it, and a new folio has none."""
        return folio["shared"] or not mapped

    def how(self, folio: Values) -> int:
        return 128 * bool(folio["isolated"]) + 256 * bool(folio["writeback"]) + 512 * folio["contents"]

    def given(self, before: bytes, after: bytes, thread: int) -> int:
        """The number of the frame that is taken for a new folio, too."""
        given = super().given(before, after, thread)
        return next((self.number[read(after)] for read in self.taken if read(after) and not read(before)), given)

    def look(self, state: bytes) -> str:
        """The look that c/migrate.c has."""
        file, *slots = [self.number.get(read(state), 0) for read in self.cached]
        return super().look(state) + f" page={file}" + "".join(f" cached={number}" for number in slots)
