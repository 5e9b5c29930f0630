"""The examples of the documentation's pages are run, in order, in a copy of the checkout."""

import pytest

from tests.support import pages
from tests.support.days import House, refund

NEWEST = -1


def test_the_examples_of_the_authors_page_do_what_it_says(tmp_path):
    house = House(tmp_path, NEWEST)
    try:
        house.start()
        for number, amount in enumerate((8_000, 100, 8_500, 9_500)):
            house.propose("refund-bot", refund(amount, number))
        environment = {**house.environment(), "PATH": f"{house.root / 'bin'}:/usr/bin:/bin"}

        assert pages.run(pages.ROOT / "docs" / "authors.md", house.root, environment) > 30
    finally:
        house.close()


PAGE = """
```sh
# a remark
./run policy ls
# exit 5
magistrate policy test \\
  -r x
cat > a <<'END'
# exit 9
END
```

```text
a … b
…
last
```

```sh
true
```

Words between.

```text
not of the block above
```
"""


def test_a_page_is_read_as_its_commands_their_ends_and_what_they_print():
    first, second = pages.blocks(PAGE)

    assert first.commands == (
        pages.Command("./run policy ls", 0),
        pages.Command("magistrate policy test \\\n  -r x", 5),
        pages.Command("cat > a <<'END'\n# exit 9\nEND", 0),
    )
    assert (first.line, first.printed) == (2, "a … b\n…\nlast\n")
    assert (second.commands, second.printed) == ((pages.Command("true", 0),), None)


@pytest.mark.parametrize(
    ("pattern", "printed", "same"),
    [
        ("a … b\n", "a x b\n", True),
        ("a … b\n", "a x\nb\n", False),
        ("a\n…\nb\n", "a\nb\n", True),
        ("a\n…\nb\n", "a\n1\n2\nb\n", True),
        ("a\n…\nb\n", "a\n1\n2\n", False),
        ("a\n", "a\nb\n", False),
        ("a.b\n", "axb\n", False),
    ],
)
def test_dots_stand_for_what_differs_and_for_nothing_else(pattern, printed, same):
    assert pages.matches(pattern, printed) is same


@pytest.mark.parametrize(
    ("example", "words"),
    [
        ("```sh\nfalse\n```\n", "ended with 1, not 0"),
        ("```sh\n# exit 5\ntrue\n```\n", "ended with 0, not 5"),
        ("```sh\necho a\n```\n\n```text\nb\n```\n", "printed\na\n\nnot\nb"),
    ],
)
def test_a_page_that_says_something_else_fails(tmp_path, example, words):
    page = tmp_path / "p.md"
    page.write_text(example)

    with pytest.raises(AssertionError, match=r"p\.md:1") as failed:
        pages.run(page, tmp_path, {"PATH": "/usr/bin:/bin"})

    assert words in str(failed.value)
