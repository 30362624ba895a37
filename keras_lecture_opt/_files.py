"""Files that are replaced as a whole, or not at all."""

import contextlib
import errno
import os


def make_folder(argument, path):
    """Make a folder, and those above it; an error names the argument."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        text = f"`{argument}` {path} cannot be a folder: {error.strerror}"
        raise OSError(error.errno, text) from error


@contextlib.contextmanager
def replacing(path, message="{} cannot be written: {}"):
    """Yield a path to write to; what is there in the end replaces the file, if nothing fails.

    The folder must exist. `message` is what an OSError says of the path and of what happened.
    """
    # The ending names a film's format. Several processes may write the same file.
    part = path.with_name(f"part.{os.getpid()}.{path.name}")
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        part.touch()  # fails now, not after what takes long
        yield part
        part.replace(path)
    except OSError as error:
        text = message.format(path, error.strerror or error)
        raise OSError(error.errno, text) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
