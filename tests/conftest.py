"""Loads what all tests share, in the processes that run tests."""


def pytest_configure(config):
    # The first process of pytest-xdist only hands out tests: there the import of TensorFlow would
    # delay all others by three seconds.
    if hasattr(config, "workerinput") or config.getoption("dist") == "no":
        config.pluginmanager.import_plugin("common")
