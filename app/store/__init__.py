"""Where shared state is kept, behind the types of `app.interfaces`; for now, in memory."""
