"""The paper's claims, each with its comparisons and a verdict; see `study/claims.py`."""

from paradise.study.claims import claims_shows, claims_table
from paradise.study.paper import FOLDER
from paradise.study.table import StudyTable

TABLE = StudyTable(
    title="The paper's claims",
    order=4,
    make=claims_table,
    shows=claims_shows,
    published=tuple(FOLDER / f"{name}.csv" for name in ("imagenet", "ablation", "coco")),
)
