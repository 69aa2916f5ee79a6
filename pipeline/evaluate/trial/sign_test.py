"""Exact two-sided sign test."""


def sign_test(wins: int, losses: int) -> float:
    """Return the two-sided p-value of wins and losses if both are equally likely.

    Ties must be left out of both counts. The p-value is twice the binomial probability of at most
    the smaller count, and at most 1.
    """
    throws = wins + losses
    # Integers neither overflow nor round for thousands of throws. Only the last step divides.
    ways, tail = 1, 0
    for successes in range(min(wins, losses) + 1):
        tail += ways
        ways = ways * (throws - successes) // (successes + 1)
    return min(1.0, float(2 * tail / (1 << throws)))
