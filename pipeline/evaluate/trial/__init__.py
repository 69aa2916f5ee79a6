"""Trial: a paired comparison of noises and controls on held-out prompts and unseen seeds.

held_out, samples           prompts and seeds
arms, arm_specs             ways to get an image, and the comparisons between them
arm_runner, chunk, workers  images, their scores and their cost
results, findings           gains, intervals, tests, diversity, cost
page, summary               reports
"""
