"""Trial: a paired comparison of noises and controls on held-out prompts and unseen seeds.

samples              held-out prompts, their categories, seeds
arms, arm_specs      ways to get an image, and the comparisons between them
settings, run        settings and models; computation in several processes
arm_runner, results  images, their scores and their cost
findings             gains, intervals, tests, diversity, cost
summary, page        reports; gallery and plots of the page
"""
