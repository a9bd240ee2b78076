"""Users' devices: tickets, enrolment, sync, revocation."""
