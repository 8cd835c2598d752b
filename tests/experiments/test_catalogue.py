"""What `list` reads in the BibTeX of a method."""

from __future__ import annotations

from dataclasses import replace

import pytest

import algorithms
from experiments import catalogue


@pytest.mark.parametrize(
    ("bibtex", "citation"),
    [
        ("@article{w,\n  author  = {Werbos, Paul J.},\n  year = {1990}\n}", "Werbos 1990"),
        ("@article{w, title = {One}, author = {Werbos, Paul J.}, year = {1990}}", "Werbos 1990"),
        ('@article{w,author="Paul J. Werbos",YEAR=1990}', "Werbos 1990"),
        ("@misc{k, author = {Kag, Anil and\n  Saligrama, Venkatesh}, year = {2021},}", "Kag & Saligrama 2021"),
        (
            "@misc{m, title = {T{PTT}, or year = {1066}}, author = {A {B}ee and C and D}, year = 1999}",
            "Bee et al. 1999",
        ),
        ("@misc{n, author = {Nobody, A.}}", "Nobody"),
        (r"@misc{a, author = {M{\"{u}}ller, A. and Ho{\v{z}}a, B}, year={2000}}", "Muller & Hoza 2000"),
        (r'@misc{a, author = "G{\"o}del, Kurt", year = 1931}', "Godel 1931"),
        ("@misc{t, title = {A title}, year = {2001}}", ""),
        ("", ""),
    ],
)
def test_authors_and_year_however_they_are_laid_out(bibtex: str, citation: str) -> None:
    assert catalogue.short_citation(bibtex) == citation


def test_a_method_without_authors_is_called_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    fptt = algorithms.method("fptt")
    monkeypatch.setattr(algorithms, "method", lambda name: replace(fptt, name=name, reference="@misc{x, year = 1}"))
    assert [each["paper"] for each in catalogue.catalogue()["methods"]] == algorithms.names()
