"""Scripts: stories that are done first and judged afterwards."""

from pathlib import Path

import pytest

from brownout.errors import FileError
from brownout.scripts import scripts_in


@pytest.mark.parametrize(("name", "told"), [("a" * 41, "length <= 40"), ("Capital", "matching regex")])
def test_a_name_that_no_cell_can_have_is_refused(tmp_path: Path, name: str, told: str) -> None:
    path = tmp_path / "story.py"
    path.write_text(
        f'from brownout.scripts import script\n@script(steady="order")\ndef {name}():\n    yield ()\n',
    )
    with pytest.raises(FileError, match=rf"story\.py: cannot be loaded: ValidationError: Expected `str` .*{told}"):
        scripts_in(path)
