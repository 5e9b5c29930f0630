"""The steps of an intent's way, in order: gateway, approvals, authority, router, verification, containment.

Each step reads in three paragraphs: gather (time, stored state, OPA's answer), decide (a call into `core`), commit
(one append). What a step read is named in its commit; if any of it moved, nothing is written and the step asks again.
"""
