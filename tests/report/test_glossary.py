"""The words: each has a paragraph that others can follow, and a text's terms are found in it."""

from __future__ import annotations

import re

import pytest

from secondsight.report.glossary import TERMS, Term, terms_in


def test_no_form_means_two_things() -> None:
    forms = [form.lower() for term in TERMS for form in (term.name, *term.forms)]
    assert len(forms) == len(set(forms)) and len({term.anchor for term in TERMS}) == len(TERMS)


@pytest.mark.parametrize("term", TERMS, ids=lambda term: term.name)
def test_a_paragraph_begins_with_its_term_and_has_plain_sentences(term: Term) -> None:
    first = term.text.lower()
    assert any(form.lower() in first.partition(". ")[0] for form in (term.name, *term.forms))
    assert term.text.endswith(".") and max(len(sentence.split()) for sentence in re.split(r"[.:] ", term.text)) <= 34


def test_the_first_occurrence_of_each_term_is_found_the_longest_form_first() -> None:
    text = "The device's page table has a page, and the page table of the process another page. A page table is a table."
    found = [(text[start:end], term.name) for start, end, term in terms_in(text)]
    assert found == [("device's page table", "secondary page table"), ("page", "page"), ("page table", "page table"), ("table", "table")]


def test_a_part_of_a_word_is_none() -> None:
    assert [term.name for _, _, term in terms_in("overstepping paged frames")] == ["frame"]
