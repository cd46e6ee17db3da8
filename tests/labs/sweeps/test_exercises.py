"""The checks of the exercises on sweeps."""

from labs.sweeps import exercises


def test_how_many_pictures_values_ask_for():
    jobs = {"prompt": ["a knight", "a queen"], "seed": [0, 1, 2]}
    assert exercises.count_of_jobs(6, jobs) == "Right: it asks for 6 pictures."
    assert exercises.count_of_jobs(5, jobs).startswith("Not yet: 5 is too few")


def test_jobs_that_ask_for_just_these_pictures():
    rows = [{"prompt": "a knight", "seed": seed} for seed in (0, 1)]
    check = exercises.jobs_ask_for
    assert (
        check({"prompt": ["a knight"], "seed": [1, 0]}, rows) == "Right: these are the 2 pictures."
    )
    assert check(rows[:1], rows).startswith("Not yet: 1 of the pictures is missing, and 0 is not")
    assert check([*rows, {"prompt": "a queen"}], rows).startswith("Not yet: 0 of the pictures")
    assert check("all", rows).startswith(
        "Not yet: the answer must be jobs, as a dict or a list, not"
    )


def test_the_hours_of_a_sweep():
    sweep = {"seconds": 0.36, "images": 10_000, "processes": 2}
    assert exercises.hours_of_sweep(0.5, **sweep) == "Right: 10000 pictures take 0.5 hours."
    assert exercises.hours_of_sweep(1.0, **sweep) == "Not yet: it takes less than 1 hours."
