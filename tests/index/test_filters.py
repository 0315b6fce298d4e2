"""The grammar of filters, and the works that they let through."""

from __future__ import annotations

from pathlib import Path

import pytest

from index.catalogue import Catalogue, Entry, write_catalogue
from index.filters import Term, fold, parse_filter
from index.space.errors import BadInput

WORKS = [
    ("baroque", {"artist": "Artemisia Gentileschi", "date": "c. 1620", "medium": "Oil on canvas"}),
    (
        "baroque",
        {
            "artist": "Rembrandt (Dutch, 1606–1669)",
            "date": "1650–55",
            "medium": "Etching, printed in brown",
        },
    ),
    ("impressionism", {"artist": "Édouard  Manet", "date": "1880s", "Credit Line": "Gift, 1920"}),
    ("impressionism", {"artist": "Claude Monet", "date": "n.d.", "medium": "Oil on panel"}),
    (None, {"medium": 'The "large" print; 100% cotton_rag'}),
]


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    path = tmp_path_factory.mktemp("filters") / "catalogue.sqlite"
    entries = [
        Entry(row, f"w{row}", f"{row}.png", label, None, "", False, row == 1, 9, 9, metadata)
        for row, (label, metadata) in enumerate(WORKS)
    ]
    write_catalogue(path, entries)
    return Catalogue(path)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("", [0, 1, 2, 3, 4]),
        ("  ", [0, 1, 2, 3, 4]),
        ("class:baroque", [0, 1]),
        ("class:baroque,impressionism", [0, 1, 2, 3]),
        ("CLASS:Baroque", [0, 1]),
        ("-class:baroque", [2, 3, 4]),
        ("class:rococo", []),
        ('artist:"edouard manet"', [2]),
        ('artist:"Édouard Manet",Rembrandt', [1, 2]),
        ('artist:"Rembrandt (Dutch, 1606–1669)"', [1]),
        ("medium:oil*", [0, 3]),
        ('medium:"oil on p*"', [3]),
        ("medium:*", [0, 1, 3, 4]),
        ("-medium:*", [2]),
        ("greyscale:yes", [1]),
        ('-Greyscale:"YES"', [0, 2, 3, 4]),
        ("greyscale:yes,no", [0, 1, 2, 3, 4]),
        ('"credit line":"gift, 1920"', [2]),
        ("date:1620", [0]),
        ("date:1621..1652", [1]),
        ("date:1655..1880", [1, 2]),
        ("date:..1619", []),
        ("date:1885..", [2]),
        ("date:1620,1885", [0, 2]),
        ("-date:1000..2000", [3, 4]),
        ("class:baroque -artist:rembrandt date:1600..1700", [0]),
        ("medium:100*", []),
        ("class:%", []),
        ("class:baroqu_", []),
    ],
)
def test_a_filter_lets_works_through(catalogue: Catalogue, text: str, rows: list[int]) -> None:
    assert catalogue.select(parse_filter(text)).tolist() == rows


@pytest.mark.parametrize(
    "text",
    [
        *(
            "class",
            "class:",
            "monet",
            ":x",
            "a:b,,c",
            'a:"b',
            "a:b c",
            "date:x",
            "date:..",
            "date:",
        ),
        'medium:"oil on p"*',  # the star belongs inside the quotes
        *("date:1890..1880", "date:18900", "date:1..2..3", "class: baroque", "--class:a"),
        *("greyscale:maybe", "-greyscale:yes,nope", "greyscale:y*", 'class:""', 'medium:oil*," "'),
    ],
)
def test_what_is_no_filter_is_refused(catalogue: Catalogue, text: str) -> None:
    with pytest.raises(BadInput, match=r"a filter|date must be|a span must|must be yes or no"):
        catalogue.select(parse_filter(text))


def test_an_unknown_field_is_answered_with_those_there_are(catalogue: Catalogue) -> None:
    with pytest.raises(BadInput, match="date, artist, class, credit line, greyscale, medium; rec"):
        catalogue.select(parse_filter("colour:red"))


def test_terms_are_folded() -> None:
    assert parse_filter('Artist:"Ångström,  É*",x -date:1880..') == [
        Term("artist", ("angstrom, e*", "x"), negated=False),
        Term("date", ("1880..",), negated=True),
    ]
    assert fold("  ÉDOUARD \t Manet ") == "edouard manet"


def test_facets_count_what_the_filter_lets_through(catalogue: Catalogue) -> None:
    found = catalogue.facets([], limit=1)
    # Artists, media and credit lines all differ: they tell nothing apart.
    assert [tuple(facet) for facet in found] == [
        ("class", 2, [("baroque", 2)]),
        ("date", 2, [("1601..1700", 2)]),
        ("greyscale", 2, [("no", 4)]),
    ]
    found = catalogue.facets(parse_filter("date:1600..1900"), limit=10)
    assert found[0].counts == [("baroque", 2), ("impressionism", 1)]
    assert found[1].counts == [("1620..1629", 1), ("1650..1659", 1), ("1880..1889", 1)]
    assert [facet.field for facet in catalogue.facets(parse_filter("-date:..2200"), 10)] == [
        "class",
        "greyscale",
    ]


@pytest.mark.parametrize("limit", [3, 20])
def test_what_the_date_facet_counts_a_filter_finds(tmp_path: Path, limit: int) -> None:
    """Decades or centuries, works of one year or of many, before Christ as well."""
    dates = ["1889", "c. 1889–91", "18th century", "1500 BC", "3rd century BC", "1700", "1890s"]
    entries = [
        Entry(row, f"w{row}", "x.png", None, None, "", False, False, 9, 9, {"date": date})
        for row, date in enumerate(dates)
    ]
    write_catalogue(tmp_path / "c.sqlite", entries)
    catalogue = Catalogue(tmp_path / "c.sqlite")
    facet = next(facet for facet in catalogue.facets([], limit) if facet.field == "date")
    assert len(facet.counts) == min(limit, facet.values)
    for value, works in facet.counts:
        assert len(catalogue.select(parse_filter(f"date:{value}"))) == works > 0
    if limit == 3:
        # Five centuries have works; of those with one, the first.
        assert facet.values == 5
        assert facet.counts == [("-1499..-1400", 1), ("-299..-200", 1), ("1801..1900", 3)]


def test_words_find_works(catalogue: Catalogue) -> None:
    def ids(words: str, text: str = "") -> list[str]:
        total, entries = catalogue.find(words, parse_filter(text), limit=10, offset=0)
        assert total == len(entries)
        return [entry.id for entry in entries]

    assert ids("edouard") == ["w2"]
    assert ids("ÉDOU man") == ["w2"]
    assert ids("oil") == ["w0", "w3"]
    assert ids("oil", "class:baroque") == ["w0"]
    assert ids("baroque rembrandt") == ["w1"]
    assert ids("oil etching") == []
    assert ids('"large" AND OR NOT ( * ^') == []
    assert ids('"large" print') == ["w4"]
    assert ids("") == ["w0", "w1", "w2", "w3", "w4"]
    assert ids(" - ") == []


def test_a_title_counts_more_than_other_text(tmp_path: Path) -> None:
    texts = [{"note": "water " * 3}, {"artist": "Water"}, {"title": "Water"}]
    entries = [
        Entry(row, f"w{row}", "x.png", None, None, "", False, False, 9, 9, metadata)
        for row, metadata in enumerate(texts)
    ]
    write_catalogue(tmp_path / "c.sqlite", entries)
    _, found = Catalogue(tmp_path / "c.sqlite").find("water", [], limit=3, offset=0)
    assert [entry.id for entry in found] == ["w2", "w1", "w0"]
    total, page = Catalogue(tmp_path / "c.sqlite").find("water", [], limit=1, offset=2)
    assert (total, [entry.id for entry in page]) == (3, ["w0"])
