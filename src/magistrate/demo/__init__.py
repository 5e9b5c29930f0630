"""The demo: a real service, a real target, and people and programs in processes of their own."""
