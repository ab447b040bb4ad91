"""What services share about people: the sign-in session, who may enter a route, handover tickets."""
