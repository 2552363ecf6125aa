"""Alembic's: how a database gets the tables that `app.store.tables` describes."""
