"""``geoosd engine``: an embedded model server for machines that have none (an optional extra)."""
