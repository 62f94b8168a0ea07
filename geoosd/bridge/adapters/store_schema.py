"""The tables of ``sessions.db`` (:mod:`.store`), as the steps that led to them.

``PRAGMA user_version`` is the number of steps that a file has seen; a step that was ever released
is never changed, only followed by another. ``session.number`` is the order of sessions: clocks
jump, it does not. A session's messages exist with ``record = "full"`` alone, and are the only
place, beside its prompt and the turns before it, for any text or token id.
"""

from __future__ import annotations

from typing import Final

APPLICATION_ID: Final = 0x67656F73
"""``geos``: at byte 68 of the file (https://sqlite.org/fileformat.html)."""

STEPS: Final = (
    # 1: sessions and their messages
    """
    CREATE TABLE session (
      number INTEGER PRIMARY KEY AUTOINCREMENT,
      id TEXT NOT NULL UNIQUE,
      model TEXT,
      upstream TEXT,
      path TEXT NOT NULL,
      dialect TEXT NOT NULL,
      choices INTEGER NOT NULL,
      record TEXT NOT NULL,
      started REAL NOT NULL,
      ended REAL,
      duration REAL,
      time_to_first_token REAL,
      tokens_per_second REAL,
      tokens INTEGER NOT NULL DEFAULT 0,
      prompt_tokens INTEGER,
      completion_tokens INTEGER,
      total_tokens INTEGER,
      finish_reason TEXT,
      error TEXT,
      provenance TEXT NOT NULL DEFAULT '{}',
      messages INTEGER NOT NULL DEFAULT 0,
      lost INTEGER NOT NULL DEFAULT 0,
      prompt TEXT,
      system TEXT
    );
    CREATE INDEX session_model ON session (model, number);
    CREATE TABLE message (
      session INTEGER NOT NULL,
      ordinal INTEGER NOT NULL,
      after REAL NOT NULL,
      kind TEXT NOT NULL,
      body TEXT NOT NULL,
      PRIMARY KEY (session, ordinal)
    ) WITHOUT ROWID;
    """,
    # 2: what people thought of them; outlives the session's own line
    """
    CREATE TABLE feedback (
      number INTEGER PRIMARY KEY AUTOINCREMENT,
      session TEXT NOT NULL,
      at REAL NOT NULL,
      rating INTEGER NOT NULL CHECK (rating BETWEEN 1 AND 5),
      comment TEXT,
      first INTEGER,
      last INTEGER,
      model TEXT,
      success INTEGER NOT NULL,
      tokens INTEGER NOT NULL,
      latency REAL,
      duration REAL
    );
    CREATE INDEX feedback_session ON feedback (session);
    CREATE INDEX feedback_model ON feedback (model);
    """,
    # 3: what was said before the prompt of a proxied request, as JSON
    """
    ALTER TABLE session ADD COLUMN turns TEXT;
    """,
)

VERSION: Final = len(STEPS)
