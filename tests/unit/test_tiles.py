"""Tiles: where they lie, which of them a tree has, and what is published of a log."""

import pytest

from schemas.tiles import Tile, edge_tiles, number_path


@pytest.mark.parametrize(
    ("number", "path"), [(0, "000"), (5, "005"), (1_234_067, "x001/x234/067"), (1_000, "x001/000")]
)
def test_a_number_is_a_path_of_three_digits_each(number: int, path: str) -> None:
    assert number_path(number) == path


def test_a_full_tile_has_no_width_in_its_path() -> None:
    assert Tile(1, 3, 256).path == "tile/1/003"


def test_a_partial_tile_has_its_width_in_its_path() -> None:
    assert Tile(0, 273, 112).path == "tile/0/273.p/112"


def test_entries_lie_beside_the_tiles() -> None:
    assert Tile(-1, 0, 256).path == "tile/entries/000"


def test_the_published_example_has_the_edge_that_it_tells() -> None:
    assert list(edge_tiles(70_000)) == [Tile(0, 273, 112), Tile(1, 1, 17), Tile(2, 0, 1)]


def test_a_tree_of_256_has_a_partial_tile_at_level_1_only() -> None:
    assert list(edge_tiles(256)) == [Tile(1, 0, 1)]
