"""The pipelines: which learner, and its hyperparameters."""

from ConfigSpace import (
    Categorical,
    ConfigurationSpace,
    EqualsCondition,
    Float,
    Integer,
)


def space() -> ConfigurationSpace:
    """Both learners with conditions, floats and integers, on logarithmic scales where these are natural."""
    made = ConfigurationSpace(name="tabular")
    learner = Categorical("learner", ["gradient_boosting", "mlp"])
    boosting = [
        Float("learning_rate", (0.01, 0.5), log=True),
        Integer("max_depth", (1, 6)),
        Float("subsample", (0.5, 1.0)),
    ]
    network = [
        Integer("hidden", (8, 256), log=True),
        Float("learning_rate_init", (1e-4, 1e-1), log=True),
        Float("alpha", (1e-6, 1e-1), log=True),
        Categorical("batch_size", [16, 32, 64], ordered=True),
    ]
    made.add(learner, *boosting, *network)
    made.add(*(EqualsCondition(child, learner, "gradient_boosting") for child in boosting))
    made.add(*(EqualsCondition(child, learner, "mlp") for child in network))
    return made
