"""The sign test: would a fair coin give so one-sided a result?"""


def sign_test(wins: int, losses: int) -> float:
    """Two-sided p-value of ``wins`` against ``losses`` under a fair coin; ties are left out.

    Exact: P(at most the smaller number in n throws), doubled. Whole numbers alone until the last
    division, so that thousands of throws neither overflow nor round.
    """
    throws = wins + losses
    ways, tail = 1, 0
    for successes in range(min(wins, losses) + 1):
        tail += ways
        ways = ways * (throws - successes) // (successes + 1)
    return min(1.0, float(2 * tail / (1 << throws)))
