"""The files of tests that take longest, longest first; all take more than 15 seconds of a processor. `conftest.py` lets them begin first."""

from __future__ import annotations

SLOW = (
    "kernels/test_observed.py", "kernels/test_releases.py", "contract/test_wrong_drivers.py", "cli/test_documents.py", "test_style.py",
    "lang/test_reductions_everywhere.py", "contract/test_check.py", "cli/test_check_command.py", "lang/test_reductions.py",
    "cli/test_other_commands.py", "kernels/test_agree.py", "kernels/test_failures.py", "agree/test_generate.py", "world/test_model.py",
    "conform/test_conform_mmu_notifier.py", "attack/test_attack.py", "lang/test_law.py", "cli/test_executors.py", "kernels/test_confirm.py",
    "lang/test_stored.py", "kernels/test_module.py",
)  # fmt: skip
