"""What happens to the members of a group: moves in an order that a seed decides. Pure."""

import random
from dataclasses import dataclass, replace

ORDERLY = ("join", "join", "leave", "join", "leave", "leave", "join")
ROUGH = ("join", "crash", "pause", "join", "leave")
TRIES = 1000


@dataclass(frozen=True)
class Move:
    """`settle`: the group is to come to rest before the next one."""

    what: str  # join, leave, crash, pause or resume
    member: str
    settle: bool


def schedule(seed: int, bag: tuple[str, ...], first: int = 2, most: int = 4) -> list[Move]:
    """`first` members join at once, then the moves of the bag come in some order, each done to some member.

    There is always a member that is neither paused nor gone. Who is paused is resumed when the group has come to rest
    without it, which is how it outlives its session.
    """
    rng = random.Random(seed)
    for _ in range(TRIES):
        moves = _attempt(rng, list(bag), first, most)
        if moves is not None:
            return moves
    raise ValueError(f"no order of {bag} with {first} to {most} members")


def _attempt(rng: random.Random, bag: list[str], first: int, most: int) -> list[Move] | None:
    rng.shuffle(bag)
    running = [f"m{n}" for n in range(1, first + 1)]
    moves = [Move("join", m, settle=m == running[-1]) for m in running]
    made = first
    for what in bag:
        settle = rng.random() < 0.6
        if what == "join":
            if len(running) == most:
                return None
            made += 1
            running.append(f"m{made}")
            moves.append(Move("join", running[-1], settle))
            continue
        if len(running) < 2:
            return None
        member = rng.choice(running)
        if what == "pause":
            # Of a group at rest: a share that is on its way to the member may be told of when it is continued, after its session.
            moves[-1] = replace(moves[-1], settle=True)
            moves += [Move("pause", member, True), Move("resume", member, settle)]
        else:
            running.remove(member)
            moves.append(Move(what, member, settle))
    return [*moves[:-1], Move(moves[-1].what, moves[-1].member, True)]
