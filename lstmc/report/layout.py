"""Where the boxes of a graph go: in ranks from top to bottom, long graphs in several columns.

The steps are those of Sugiyama, Tagawa and Toda (1981): ranks by longest path, places that keep a
lane free for edges across several ranks, an order within each rank by the mean of its neighbours,
then coordinates near those neighbours. Edges of one source share a lane.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

BOX, LANE = (164.0, 38.0), 8.0  # a box's width and height, a lane's width
GAP, ROW = 12.0, 60.0  # between boxes; from rank to rank
PAGE, TALL = 1060.0, 900.0  # what fits on a page at full size
SMALLEST = 0.72  # how far a picture may be scaled down before its text can't be read
TRACK = 6.0  # between the edges that lead to the next column
SWEEPS = 6

Place = tuple[str, int]  # (node, rank): a box, or below its rank a lane of the edges from it


@dataclass
class Layout:
    """Centres of boxes by node, paths of edges as points, and the whole size."""

    boxes: dict[str, tuple[float, float]] = field(default_factory=dict)
    paths: list[tuple[str, str, list[tuple[float, float]]]] = field(default_factory=list)
    width: float = 0.0
    height: float = 0.0


def lay_out(nodes: list[str], edges: list[tuple[str, str]]) -> Layout:
    """Nodes in an order in which edges lead forwards; an edge may be given twice."""
    before, after = defaultdict(list), defaultdict(list)
    for a, b in dict.fromkeys(edges):
        before[b].append(a)
        after[a].append(b)
    rank = _ranks(nodes, before, after)
    links = _links(nodes, after, rank)
    rows = _order(_rows(nodes, after, rank), links)
    x = _coordinates(rows, links)
    return _columns(rows, links, x, rank)


def _ranks(
    nodes: list[str], before: dict[str, list[str]], after: dict[str, list[str]]
) -> dict[str, int]:
    rank: dict[str, int] = {}
    for n in nodes:
        rank[n] = 1 + max((rank[m] for m in before[n]), default=-1)
    # What has at most one source goes as near to its readers as it can: its source's lane is one.
    for n in reversed(nodes):
        if after[n] and len(before[n]) <= 1:
            rank[n] = min(rank[m] for m in after[n]) - 1
    used = {r: i for i, r in enumerate(sorted(set(rank.values())))}
    return {n: used[r] for n, r in rank.items()}


def _links(
    nodes: list[str], after: dict[str, list[str]], rank: dict[str, int]
) -> dict[Place, list[Place]]:
    """From each place to those of the next rank that it leads to."""
    links: dict[Place, list[Place]] = defaultdict(list)
    for n in nodes:
        last = max((rank[m] for m in after[n]), default=rank[n])
        for m in after[n]:
            links[n, rank[m] - 1].append((m, rank[m]))
        for r in range(rank[n], last - 1):
            links[n, r].append((n, r + 1))
    return links


def _rows(nodes: list[str], after: dict[str, list[str]], rank: dict[str, int]) -> list[list[Place]]:
    rows: list[list[Place]] = [[] for _ in range(max(rank.values()) + 1)]
    for n in nodes:
        last = max((rank[m] for m in after[n]), default=rank[n])
        for r in range(rank[n], max(last, rank[n] + 1)):
            rows[r].append((n, r))
    return rows


def _backwards(links: dict[Place, list[Place]]) -> dict[Place, list[Place]]:
    back: dict[Place, list[Place]] = defaultdict(list)
    for a, readers in links.items():
        for b in readers:
            back[b].append(a)
    return back


def _order(rows: list[list[Place]], links: dict[Place, list[Place]]) -> list[list[Place]]:
    """Within each row, by the mean place of the neighbours in the row before, then behind."""
    back = _backwards(links)
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        near = back if down else links
        at: dict[Place, float] = {}
        for row in rows if down else reversed(rows):
            middle = {
                p: sum(at[q] for q in near[p] if q in at) / max(sum(q in at for q in near[p]), 1)
                if any(q in at for q in near[p])
                else i / max(len(row), 1)
                for i, p in enumerate(row)
            }
            row.sort(key=middle.__getitem__)
            at.update({p: (i + 0.5) / len(row) for i, p in enumerate(row)})
    return rows


def _is_lane(place: Place, rows_of: dict[str, int]) -> bool:
    return place[1] != rows_of[place[0]]


def _coordinates(rows: list[list[Place]], links: dict[Place, list[Place]]) -> dict[Place, float]:
    """The x of every place: near its neighbours', nothing overlapping."""
    first: dict[str, int] = {}
    for row in rows:
        for n, r in row:
            first.setdefault(n, r)
    back = _backwards(links)
    x: dict[Place, float] = {}
    for row in rows:
        x.update(_spread(row, dict.fromkeys(row, 0.0), first))
    for sweep in range(2 * SWEEPS + 1):
        down = sweep % 2 == 0
        for row in rows if down else reversed(rows):
            wanted = {}
            for p in row:
                strong, weak = (back[p], links[p]) if down else (links[p], back[p])
                near = [x[q] for q in strong] * 3 + [x[q] for q in weak]
                if sweep == 2 * SWEEPS and strong:  # at last chains and lanes are drawn straight
                    near = [x[q] for q in strong]
                wanted[p] = sum(near) / len(near) if near else x[p]
            x.update(_spread(row, wanted, first))
    return x


def _width(place: Place, first: dict[str, int]) -> float:
    return LANE if _is_lane(place, first) else BOX[0]


def _spread(
    row: list[Place], wanted: dict[Place, float], first: dict[str, int]
) -> dict[Place, float]:
    """Centres as near to those wanted as the order and the widths allow: least squares, by pooling
    neighbours that would overlap (isotonic regression)."""
    offsets, at = [], 0.0
    for i, p in enumerate(row):
        if i:
            at += (_width(row[i - 1], first) + _width(p, first)) / 2 + GAP
        offsets.append(at)
    pools: list[tuple[float, float, int]] = []  # mean, weight, how many
    for p, offset in zip(row, offsets, strict=True):
        mean, weight, count = wanted[p] - offset, 8.0 if _is_lane(p, first) else 1.0, 1
        while pools and pools[-1][0] > mean:
            other, w, n = pools.pop()
            mean, weight = (mean * weight + other * w) / (weight + w), weight + w
            count += n
        pools.append((mean, weight, count))
    means = [mean for mean, _, count in pools for _ in range(count)]
    return {p: m + o for p, m, o in zip(row, means, offsets, strict=True)}


def _columns(
    rows: list[list[Place]], links: dict[Place, list[Place]], x: dict[Place, float],
    rank: dict[str, int],
) -> Layout:  # fmt: skip
    """As many columns as the page has room for, until the picture is not taller than it."""
    count, best = 1, _fold(rows, links, x, rank, 1)
    while best.height * min(1.0, PAGE / best.width) > TALL and count < len(rows):
        count += 1
        wider = _fold(rows, links, x, rank, count)
        if wider.width > PAGE / SMALLEST:
            break
        best = wider
    return best


def _fold(
    rows: list[list[Place]], links: dict[Place, list[Place]], x: dict[Place, float],
    rank: dict[str, int], count: int,
) -> Layout:  # fmt: skip
    """The rows in ``count`` columns, from left to right."""
    each = -(-len(rows) // count)
    found, left = Layout(), 8.0
    where: dict[Place, tuple[float, float]] = {}
    crossing: list[tuple[Place, Place, float, int]] = []
    tracks = 0
    for start in range(0, len(rows), each):
        part = rows[start : start + each]
        low = min(x[p] - _width(p, rank) / 2 for row in part for p in row)
        high = max(x[p] + _width(p, rank) / 2 for row in part for p in row)
        for i, row in enumerate(part):
            for p in row:
                where[p] = (x[p] - low + left, i * ROW)
        left += high - low
        out = [(p, q) for p in part[-1] for q in links[p] if start + each < len(rows)]
        crossing += [(p, q, left + 14 + TRACK * i, i) for i, (p, q) in enumerate(out)]
        tracks = max(tracks, len(out))
        left += 28 + TRACK * len(out) if out else 0
    top = 12 + TRACK * tracks if crossing else 8.0
    where = {p: (px, py + top + BOX[1] / 2) for p, (px, py) in where.items()}
    bottom = top + (each - 1) * ROW + BOX[1]
    found.width = left + 8
    found.height = bottom + (12 + TRACK * tracks if crossing else 8)
    half = BOX[1] / 2
    turned = {(p, q) for p, q, _, _ in crossing}
    for p, (px, py) in where.items():
        if rank[p[0]] == p[1]:
            found.boxes[p[0]] = (px, py)
        else:
            found.paths.append((p[0], "", [(px, py - half), (px, py + half)]))
        for q in links[p]:
            if (p, q) not in turned:
                target = q[0] if rank[q[0]] == q[1] else ""
                qx, qy = where[q]
                found.paths.append((p[0], target, [(px, py + half), (qx, qy - half)]))
    for p, q, gutter, i in crossing:
        (px, py), (qx, qy) = where[p], where[q]
        low_y, high_y = bottom + 8 + TRACK * i, top - 8 - TRACK * i
        points = [(px, py + half), (px, low_y), (gutter, low_y)]
        points += [(gutter, high_y), (qx, high_y), (qx, qy - half)]
        found.paths.append((p[0], q[0] if rank[q[0]] == q[1] else "", points))
    return found
