"""Forms that are written otherwise before anything looks at them: what comes out means the same in Python.

`with a, b:` is one `with` inside another; `match` over constants is a chain of `if`. Positions stay those of the parts.
"""

from __future__ import annotations

import ast

from secondsight.lang.syntax import suites

__all__ = ["plainer"]


def plainer(tree: ast.FunctionDef) -> ast.FunctionDef:
    """A function's tree in the forms that the language has."""
    is_wanted = any(isinstance(n, ast.Match) or (isinstance(n, ast.With) and len(n.items) > 1) for n in suites(tree))
    plain: ast.FunctionDef = _Plainer().visit(tree) if is_wanted else tree
    return plain


class _Plainer(ast.NodeTransformer):
    def visit_With(self, node: ast.With) -> ast.With:
        self.generic_visit(node)
        while len(node.items) > 1:
            last = node.items.pop()
            node.body = [ast.copy_location(ast.With([last], node.body), last.context_expr)]
        return node

    def visit_Match(self, node: ast.Match) -> ast.stmt | list[ast.stmt]:
        self.generic_visit(node)
        first: list[ast.stmt] = []
        subject: ast.expr = node.subject
        if not isinstance(subject, ast.Name):
            name = ast.copy_location(ast.Name(f"matched_{node.lineno}_{node.col_offset}", ast.Store()), subject)
            first = [ast.copy_location(ast.Assign([name], subject), node)]
            subject = ast.copy_location(ast.Name(name.id, ast.Load()), subject)
        tests = [_test(case.pattern, subject) for case in node.cases]
        if any(test is None for test in tests):
            return node
        rest: list[ast.stmt] = []
        for case, test in zip(reversed(node.cases), reversed(tests), strict=True):
            assert test is not None
            if case.guard is not None:
                test = ast.copy_location(ast.BoolOp(ast.And(), [test, case.guard]), case.pattern)
            always = isinstance(test, ast.Constant)
            rest = case.body if always else [ast.copy_location(ast.If(test, case.body, rest), case.pattern)]
        return [*first, *rest]


def _test(pattern: ast.pattern, subject: ast.expr) -> ast.expr | None:
    """Whether the subject is what a pattern says, as an expression; None: the pattern is more than a constant."""
    found: ast.expr | None = None
    match pattern:
        case ast.MatchValue(value=value):
            found = ast.Compare(subject, [ast.Eq()], [value])
        case ast.MatchSingleton(value=None):
            found = ast.Compare(subject, [ast.Is()], [ast.copy_location(ast.Constant(None), pattern)])
        case ast.MatchOr(patterns=patterns):
            parts = [_test(part, subject) for part in patterns]
            found = ast.BoolOp(ast.Or(), [p for p in parts if p is not None]) if all(p is not None for p in parts) else None
        case ast.MatchAs(pattern=None, name=None):
            found = ast.Constant(True)
    return None if found is None else ast.copy_location(found, pattern)
