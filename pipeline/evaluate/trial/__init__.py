"""A trial: ways to get an image, compared pair by pair on held-out prompts and unseen seeds.

held_out, samples      which prompts and seeds
arms, arms          which ways to get an image of each, and what is compared with what
bench, chunk, workers  the images, their scores and their cost
results, findings      gains, intervals, tests, diversity, cost
page, summary          for people
"""
