"""What the tests of `rosam bag` share: a model, the command, and a look at its output."""

import numpy as np
import pytest
from support import write_tiny_model

from rosam_core import cli
from rosam_core.drives.rosbag import BagReader


@pytest.fixture(name="model", scope="module")
def tiny_model(tmp_path_factory):
    return str(write_tiny_model(tmp_path_factory.mktemp("model")))


@pytest.fixture(name="bag")
def bag_command(tmp_path):
    """Runs `rosam bag`; returns the exit code, what was printed and what went to stderr."""

    def call(capsys, *arguments):
        code = cli.main(["bag", *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def pictures(path, topic):
    """Returns {stamp: (header, array)} of the 32FC1 images of a topic."""
    found = {}
    with BagReader(path) as reader:
        for message in reader.messages([topic]):
            image = message.decode()
            assert image.encoding == "32FC1"
            array = np.asarray(image.data).view("<f4").reshape(image.height, image.width)
            found[message.stamp_ns] = (image.header, array)
    return found
