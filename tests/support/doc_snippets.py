"""Python programs in docs/serving.md."""

import re
from pathlib import Path

TEXT = (Path(__file__).parents[2] / "docs" / "serving.md").read_text()


CLIENTS = TEXT[TEXT.index("## Clients") :].partition("\n## ")[0]


BLOCKS = re.findall(r"```python\n(.*?)```", CLIENTS, re.DOTALL)
